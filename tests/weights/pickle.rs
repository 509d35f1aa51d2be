//! The restricted pickle reader: what it refuses, and what it survives.

use camshaft::weights::{PickleError, PickleFault, WeightFile, WeightsError};

use crate::build::*;

/// A file whose checkpoint has, beside a state dict, the value that `extra` leaves.
fn with(extra: &[u8]) -> Result<WeightFile, WeightsError> {
    let model = one_tensor(1, 0, &[1], &[1]);
    open("m.pth", pth(&dict(&[(text("extra"), extra.to_vec()), (text("model"), model)]), &[&[0; 4]]))
}

/// The error of a pickle that is nothing but `bytes`.
fn refused(bytes: &[u8]) -> PickleError {
    match open("m.pth", zip(&[("archive/data.pkl", bytes)])) {
        Err(WeightsError::Pickle { part, source, .. }) => {
            assert_eq!(part, "archive/data.pkl");
            *source
        }
        other => panic!("{other:?}"),
    }
}

fn fault(bytes: &[u8]) -> PickleFault {
    refused(bytes).fault
}

#[test]
fn each_fault_is_named() {
    assert_eq!(fault(b"\x80\x02}"), PickleFault::End);
    assert_eq!(fault(b"\x80\x02X\xff\xff\xff\xffab"), PickleFault::End);
    assert_eq!(fault(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffab"), PickleFault::End);
    assert_eq!(fault(b"\x80\x02ccollections"), PickleFault::End);
    assert_eq!(fault(b"\x80\x02ios\nsystem\n"), PickleFault::Opcode(b'i'));
    assert_eq!(fault(b"\x80\x06N."), PickleFault::Protocol(6));
    assert_eq!(fault(b"\x80\x02t."), PickleFault::Mark);
    assert_eq!(fault(b"\x80\x02."), PickleFault::Stack);
    assert_eq!(fault(b"\x80\x02K\x01("), PickleFault::End);
    assert_eq!(fault(b"\x80\x02K\x01(."), PickleFault::Stack);
    assert_eq!(fault(b"\x80\x02h\x05."), PickleFault::Memo(5));
    assert_eq!(fault(b"\x80\x02}(K\x01u."), PickleFault::Malformed("dict: a key without a value"));
    assert_eq!(fault(b"\x80\x02X\x01\0\0\0\xff."), PickleFault::Malformed("text: not UTF-8"));
    assert_eq!(fault(b"\x80\x02}K\x01a."), PickleFault::Type { expected: "a list", found: "a dict" });
    assert_eq!(fault(b"\x80\x02]K\x01K\x02s."), PickleFault::Type { expected: "a dict", found: "a list" });
    assert_eq!(fault(b"\x80\x04K\x01K\x02\x93."), PickleFault::Type { expected: "a string", found: "an integer" });
    let called = "a function or class to call";
    assert_eq!(fault(b"\x80\x02K\x01)R."), PickleFault::Type { expected: called, found: "an integer" });
    assert_eq!(
        fault(b"\x80\x02ctorch\nFloatStorage\n)R."),
        PickleFault::Type { expected: called, found: "a storage class or dtype" }
    );
    let arguments = PickleFault::Type { expected: "a tuple of arguments", found: "an integer" };
    assert_eq!(fault(b"\x80\x02ccollections\nOrderedDict\nK\x01R."), arguments);
}

#[test]
fn unknown_globals_are_named_wherever_they_stand() {
    let os = PickleFault::Global { module: "os".into(), name: "system".into() };
    let PickleError { offset, fault, .. } = refused(b"\x80\x02cos\nsystem\n.");
    assert_eq!((offset, &fault), (2, &os));
    // through the stack, as protocol 4 has it
    assert_eq!(refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93.").fault, os);
    for (module, name) in [("builtins", "eval"), ("torch", "load"), ("torch", "QInt8Storage"), ("torch._utils", "_rebuild")] {
        let bytes = pickle(&global(module, name));
        assert_eq!(refused(&bytes).fault, PickleFault::Global { module: module.into(), name: name.into() });
    }
    // in a part of the checkpoint that is not used
    let error = with(&global("argparse", "Namespace")).expect_err("an error").to_string();
    assert!(error.contains("m.pth: archive/data.pkl, byte ") && error.contains("`argparse.Namespace`"), "{error}");
}

#[test]
fn calls_with_other_arguments() {
    let arguments = |body: &[u8]| match fault(&pickle(body)) {
        PickleFault::Arguments { reason, .. } => reason,
        other => panic!("{other}"),
    };
    let rebuild = |name| global("torch._utils", name);
    let float = || storage("FloatStorage", "0", 1);
    let one = || tuple(&[int(1)]);
    assert_eq!(arguments(&call(rebuild("_rebuild_tensor"), &[float(), int(0)])), "too few");
    assert_eq!(arguments(&call(rebuild("_rebuild_tensor_v3"), &[float(), int(0), one(), one()])), "too few");
    assert_eq!(arguments(&call(rebuild("_rebuild_tensor_v2"), &[int(1), int(0), one(), one()])), "the first is not a storage");
    assert_eq!(arguments(&call(rebuild("_rebuild_tensor_v2"), &[float(), one(), one(), one()])), "the offset is not an integer");
    let no_tuple = arguments(&call(rebuild("_rebuild_tensor_v2"), &[float(), int(0), int(1), one()]));
    assert_eq!(no_tuple, "the shape or the strides are not a tuple");
    let none = || b"N".to_vec();
    let v3 = [float(), int(0), one(), one(), none(), none(), none()];
    assert_eq!(arguments(&call(rebuild("_rebuild_tensor_v3"), &v3)), "the last is not a dtype");
    let id = [text("storage"), global("torch.storage", "UntypedStorage"), text("0"), text("cpu"), int(1)];
    let untyped = [tuple(&id), b"Q".to_vec()].concat();
    let untyped = arguments(&call(rebuild("_rebuild_tensor_v2"), &[untyped, int(0), one(), one()]));
    assert_eq!(untyped, "a storage of plain bytes without a dtype");
    assert_eq!(arguments(&call(rebuild("_rebuild_parameter"), &[int(1)])), "the first is not a tensor");
    assert_eq!(arguments(&call(rebuild("_rebuild_parameter"), &[])), "wrong number");
    assert_eq!(arguments(&call(global("torch", "Size"), &[int(1)])), "not a tuple");
    for items in [int(1), list(&[int(1)]), list(&[one()])] {
        assert_eq!(arguments(&call(global("collections", "OrderedDict"), &[items])), "not a list of pairs");
    }
}

#[test]
fn persistent_ids_of_another_kind() {
    let reason = |id: Vec<u8>| match fault(&pickle(&[&id[..], b"Q"].concat())) {
        PickleFault::Arguments { called: "a persistent id", reason } => reason,
        other => panic!("{other}"),
    };
    let class = || global("torch", "FloatStorage");
    let id = |parts: [Vec<u8>; 5]| reason(tuple(&parts));
    assert_eq!(reason(int(1)), "not a tuple");
    assert_eq!(reason(tuple(&[text("storage")])), "too few");
    assert_eq!(id([text("module"), class(), text("0"), text("cpu"), int(1)]), "not a storage");
    assert_eq!(id([text("storage"), int(0), text("0"), text("cpu"), int(1)]), "the second is not a storage class");
    assert_eq!(id([text("storage"), class(), int(0), text("cpu"), int(1)]), "the key is not a string");
    assert_eq!(id([text("storage"), class(), text("0"), text("cpu"), text("1")]), "the length is not an integer");
    for part in [int(1), tuple(&[int(1)]), tuple(&[int(1), int(2), text("3")])] {
        let id = tuple(&[text("storage"), class(), text("0"), text("cpu"), int(1), part]);
        assert_eq!(reason(id), "malformed part of a storage");
    }
}

/// Every opcode of protocols 2 to 5 that may stand beside the tensors, once.
#[test]
fn all_kinds_of_plain_values_are_passed_over() {
    let values: &[&[u8]] = &[
        b"N",
        b"\x88",
        b"\x89",
        b"J\xff\xff\xff\xff",
        b"K\x01",
        b"M\x01\x02",
        b"\x8a\x00",
        b"\x8a\x01\xff",
        b"\x8b\x01\0\0\0\x7f",
        b"\x8a\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"G\x3f\xf0\0\0\0\0\0\0",
        b"X\x01\0\0\0a",
        b"\x8c\x01a",
        b"\x8d\x01\0\0\0\0\0\0\0a",
        b"T\x01\0\0\0\xff",
        b"U\x01\xff",
        b"B\x01\0\0\0\xff",
        b"C\x01\xff",
        b"\x8e\x01\0\0\0\0\0\0\0\xff",
        b"\x96\x01\0\0\0\0\0\0\0\xff",
        b")",
        b"K\x01\x85",
        b"K\x01K\x02\x86",
        b"K\x01K\x02K\x03\x87",
        b"(K\x01K\x02t",
        b"(K\x01l",
        b"(K\x01K\x02d",
        b"]K\x01a",
        b"](K\x01K\x02e",
        b"}K\x01K\x02s",
        b"\x8f(K\x01K\x02\x90",
        b"(K\x01\x91",
        b"K\x01K\x020",
        b"K\x01(K\x02K\x031",
        b"K\x012\x86",
        b"K\x01\x94h\x00\x86",
        b"K\x01r\0\0\x01\0j\0\0\x01\0\x86",
        b"\x95\x02\0\0\0\0\0\0\0K\x01",
        b"ccollections\nOrderedDict\n)R}K\x01K\x02sb",
        b"ccollections\nCounter\n}\x85R",
        b"ctorch\ndevice\nX\x03\0\0\0cpu\x85R",
        b"ctorch\nfloat16\n",
        b"ctorch\nSize\nK\x01\x85\x85R",
    ];
    for value in values {
        // one value and no more: what lies above a mark would shift the pairs
        let file = with(value).unwrap_or_else(|error| panic!("{value:02x?}: {error}"));
        assert_eq!(file.names().collect::<Vec<_>>(), ["w"], "{value:02x?}");
    }
}

#[test]
fn references_to_references_cost_nothing() {
    // each list holds the one before ten times: written out it would have 10^200 entries
    let mut extra = b"]r\0\0\0\0".to_vec();
    for level in 1..200u32 {
        let [before, this] = [level - 1, level].map(u32::to_le_bytes);
        let item = [b"j", &before[..]].concat();
        extra.extend([b"](", &item.repeat(10)[..], b"er", &this].concat());
    }
    // all lists but the last leave the stack
    let extra = [b"(", &extra[..], b"1j", &199u32.to_le_bytes()].concat();
    assert!(with(&extra).is_ok());
    // a list that holds itself
    assert!(with(b"]q\x01h\x01a").is_ok());
}

#[test]
fn depth_is_no_danger() {
    let depth = 300_000;
    let nested = [&b"]".repeat(depth)[..], &b"a".repeat(depth - 1)].concat();
    assert!(with(&nested).is_ok());
    let marks = [&b"(".repeat(depth)[..], &b"t".repeat(depth)].concat();
    assert!(with(&marks).is_ok());
}

#[test]
fn sizes_are_limited() {
    let limit = |bytes: &[u8]| match fault(bytes) {
        PickleFault::Limit { what, .. } => what,
        other => panic!("{other}"),
    };
    let many = 1 << 20;
    assert_eq!(limit(&pickle(&b"]0".repeat(many + 1))), "values");
    assert_eq!(limit(&pickle(&b"(".repeat(many + 1))), "marks");
    assert_eq!(limit(&pickle(&[b"N", &b"2".repeat(many)[..]].concat())), "stack entries");
    let memo: Vec<u8> = (0..=many as u32).flat_map(|i| [&b"r"[..], &i.to_le_bytes()].concat()).collect();
    assert_eq!(limit(&pickle(&[b"N", &memo[..]].concat())), "memo entries");
    // 64 MiB that ends nowhere
    let bytes = vec![0x95; 64 << 20];
    assert_eq!(limit(&[b"\x80\x02", &bytes[..]].concat()), "bytes of pickle");
}

#[test]
fn a_state_dict_has_a_limited_number_of_tensors() {
    let one = [tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]), b"q\x000}(".to_vec()].concat();
    let file = |count: usize| {
        let pairs: Vec<u8> = (0..count).flat_map(|i| [&text(&i.to_string())[..], b"h\x00"].concat()).collect();
        open("m.pth", pth(&[&one[..], &pairs, b"u"].concat(), &[&[0; 4]]))
    };
    assert_eq!(file(65536).unwrap().names().count(), 65536);
    let error = file(65537).expect_err("an error").to_string();
    assert!(error.contains("more than 65536 tensors"), "{error}");
}

/// A dict made again and again from one long list of pairs: work grows with the square of the file.
#[test]
fn copies_are_limited() {
    let pairs = list(&vec![tuple(&[int(1), int(2)]); 2000]);
    let again = b"h\x01h\x00\x85R0";
    let body = [&pairs[..], b"q\x00", &global("collections", "OrderedDict"), b"q\x01", &again.repeat(2000)].concat();
    assert!(matches!(fault(&pickle(&body)), PickleFault::Limit { what: "copied entries", .. }));
}
