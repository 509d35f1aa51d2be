//! The safetensors format and each defect of it.

use camshaft::weights::{Dtype, ShapeFault, WeightsError};

use crate::assert_error;
use crate::build::{floats, open, safetensors};

fn opened(header: &str, data: &[u8]) -> Result<camshaft::weights::WeightFile, WeightsError> {
    open("m.safetensors", safetensors(header, data))
}

#[test]
fn each_float_type_is_widened_exactly() {
    let values = [0.0f32, -1.5, 65504.0, 6.103_515_6e-5, f32::INFINITY];
    let mut data = floats(&values);
    data.extend(values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()));
    let wide = [0.0f32, -1.5, 1e30, -3e-30, f32::NEG_INFINITY].map(half::bf16::from_f32);
    data.extend(wide.iter().flat_map(|v| v.to_le_bytes()));
    let header = r#"{"a":{"dtype":"F32","shape":[5],"data_offsets":[0,20]},
        "b":{"dtype":"F16","shape":[5,1],"data_offsets":[20,30]},"c":{"dtype":"BF16","shape":[5],"data_offsets":[30,40]}}"#;
    let file = opened(header, &data).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(*file.tensor("a").unwrap().to_f32().unwrap(), values);
    assert_eq!(*file.tensor("b").unwrap().to_f32().unwrap(), values);
    // a bf16 is the upper half of an f32
    let expected = wide.map(|v| f32::from_bits(u32::from(v.to_bits()) << 16));
    assert_eq!(*file.tensor("c").unwrap().to_f32().unwrap(), expected);
    let b = file.tensor("b").unwrap();
    assert_eq!((b.name(), b.dtype(), b.shape(), b.num_elements()), ("b", Dtype::F16, &[5, 1][..], 5));
}

#[test]
fn every_half_widens_as_its_definition_says() {
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let data: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
    let header = r#"{"w":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]}}"#;
    let file = opened(header, &data).unwrap();
    let values = file.tensor("w").unwrap().to_f32().unwrap();
    for (&h, &value) in halves.iter().zip(&*values) {
        let (sign, exponent, fraction) = (if h >> 15 == 1 { -1.0 } else { 1.0 }, h >> 10 & 31, f64::from(h & 1023));
        let expected = match exponent {
            0 => sign * fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => sign * f64::INFINITY,
            31 => f64::NAN,
            _ => sign * (1.0 + fraction / 1024.0) * 2f64.powi(i32::from(exponent) - 15),
        };
        assert!(f64::from(value) == expected || (expected.is_nan() && value.is_nan()), "{h:#06x}: {value}");
    }
}

#[test]
fn metadata_and_the_module_prefix() {
    let header = r#"{"__metadata__":{"format":"pt"},"module.w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
    let file = opened(header, &floats(&[2.0])).unwrap();
    assert_eq!(file.metadata().iter().collect::<Vec<_>>(), [(&"format".to_owned(), &"pt".to_owned())]);
    let scalar = file.tensor("w").unwrap();
    assert_eq!((scalar.shape(), scalar.num_elements()), (&[][..], 1));
    assert_eq!(*scalar.to_f32().unwrap(), [2.0]);
}

#[test]
fn tensors_in_any_order_of_names() {
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let file = opened(header, &floats(&[1.0, 2.0])).unwrap();
    assert_eq!(*file.tensor("a").unwrap().to_f32().unwrap(), [2.0]);
    assert_eq!(*file.tensor("b").unwrap().to_f32().unwrap(), [1.0]);
}

#[test]
fn other_types_load_but_are_no_f32() {
    let header = r#"{"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}"#;
    let file = opened(header, &[0; 8]).unwrap();
    let error = file.tensor("n").unwrap().to_f32();
    assert_error!(error, WeightsError::Dtype { .. }, "m.safetensors: tensor `n` has dtype I64, expected F32, F16 or BF16");
}

#[test]
fn header_longer_than_the_file() {
    for length in [100u64, 1 << 40, u64::MAX] {
        let bytes = [&length.to_le_bytes()[..], b"{\"w\":"].concat();
        let expected = format!("header of {length} bytes expected, but only 5 bytes follow");
        assert_error!(open("m.safetensors", bytes), WeightsError::HeaderLength { .. }, &expected);
    }
    assert_error!(open("m.safetensors", [1, 0, 0]), WeightsError::HeaderLength { .. }, "8 bytes expected, but only 3");
}

#[test]
fn header_that_is_no_such_json() {
    assert_error!(opened("{]", &[]), WeightsError::Header { .. }, "safetensors header: ", "line 1 column 2");
    let unknown = r#"{"w":{"dtype":"F7","shape":[],"data_offsets":[0,1]}}"#;
    assert_error!(opened(unknown, &[0]), WeightsError::Header { .. }, "`w`: ", "F7", "BF16");
    let negative = r#"{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#;
    assert_error!(opened(negative, &[0; 4]), WeightsError::Header { .. }, "`w`: ", "-1");
    // two elements of four bits fit a byte, three do not
    let bits = r#"{"w":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#;
    assert_error!(opened(bits, &[0; 2]), WeightsError::Header { .. }, "byte boundary");
}

#[test]
fn duplicate_names() {
    // at the same offsets, so that nothing but the name gives it away
    let header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    assert_error!(opened(header, &[0; 4]), WeightsError::DuplicateTensor { .. }, "tensor `w` occurs twice");
}

#[test]
fn offsets_outside_the_data() {
    let past_end = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert_error!(opened(past_end, &[0; 7]), WeightsError::OutOfRange { .. }, "`w` has bytes 0..8", "only 7 bytes");
    let reversed = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#;
    assert_error!(opened(reversed, &[0; 8]), WeightsError::OutOfRange { .. }, "`w` has bytes 4..0");
}

/// Eight tensors of 2^61 bytes: the sum is 2^64, at which the format's crate overflows.
#[test]
fn offsets_whose_sum_overflows() {
    let quarter = 1u64 << 61;
    let tensors: Vec<_> = (0..8)
        .map(|i| {
            let (begin, end) = (i * quarter, if i == 7 { u64::MAX } else { (i + 1) * quarter });
            format!(r#""t{i}":{{"dtype":"U8","shape":[{}],"data_offsets":[{begin},{end}]}}"#, end - begin)
        })
        .collect();
    let header = format!("{{{}}}", tensors.join(","));
    assert_error!(opened(&header, &[0; 4]), WeightsError::OutOfRange { .. }, "tensor `t0`");
}

#[test]
fn overlapping_tensors_and_holes() {
    let file = |begin: usize| {
        let end = begin + 4;
        let header = format!(
            r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},"b":{{"dtype":"F32","shape":[1],"data_offsets":[{begin},{end}]}}}}"#
        );
        opened(&header, &[0; 12])
    };
    assert_error!(file(2), WeightsError::Overlap { .. }, "tensor `b` begins at byte 2 of the data, expected 4");
    assert_error!(file(6), WeightsError::Overlap { .. }, "tensor `b` begins at byte 6 of the data, expected 4");
    assert_error!(file(4), WeightsError::TrailingBytes { .. }, "12 bytes of data, expected 8");
}

#[test]
fn shape_and_bytes_disagree() {
    let header = r#"{"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,24]}}"#;
    assert_error!(
        opened(header, &[0; 24]),
        WeightsError::Size { .. },
        "`w` of type F16 and shape [2, 3] needs 12 bytes, found 24"
    );
}

#[test]
fn impossible_shapes() {
    let file = |shape: &str| opened(&format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}}}"#), &[]);
    assert_error!(file("[0]"), WeightsError::Shape { fault: ShapeFault::ZeroDimension, .. }, "`w` with shape [0]");
    let huge = "[4294967296,4294967296,4]";
    assert_error!(file(huge), WeightsError::Shape { fault: ShapeFault::Overflow, .. }, "`w`", "overflows");
    let deep = format!("{:?}", [1; 65]);
    assert_error!(file(&deep), WeightsError::Shape { fault: ShapeFault::Rank(65), .. }, "at most 64");
}
