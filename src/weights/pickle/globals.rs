//! The Python names that a weight file may mention, and what they stand for.

use safetensors::Dtype;

/// A known function or class. None of them is ever run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) enum Global {
    /// `torch._utils._rebuild_tensor` (before 0.4), `_rebuild_tensor_v2`, `_rebuild_tensor_v3` (names its dtype).
    RebuildTensor,
    RebuildTensorV2,
    RebuildTensorV3,
    /// `Parameter` and what rebuilds one: its first argument is the tensor.
    Parameter,
    OrderedDict,
    /// `torch.Size`: its argument is the tuple.
    Size,
    /// A storage class, of plain bytes if `None`.
    Storage(Option<Dtype>),
    /// `torch.float32` and so on.
    Dtype(Dtype),
    /// A class whose objects stand beside tensors in checkpoints; they are skipped.
    Inert(&'static str),
}

/// The meaning of `module.name`, if it is on the list.
pub(super) fn resolve(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("torch._utils", "_rebuild_tensor") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensorV2,
        ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorV3,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::Parameter,
        ("torch.nn.parameter", "Parameter") => Global::Parameter,
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("collections", "Counter") => Global::Inert("a Counter"),
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Inert("a device"),
        // old files keep the device in the module's name
        ("torch" | "torch.cuda", storage) if storage.ends_with("Storage") => Global::Storage(Some(storage_dtype(storage)?)),
        ("torch.storage", "UntypedStorage" | "_UntypedStorage") => Global::Storage(None),
        ("torch", dtype) => Global::Dtype(torch_dtype(dtype)?),
        _ => return None,
    })
}

fn storage_dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        "ComplexFloatStorage" => Dtype::C64,
        _ => return None,
    })
}

fn torch_dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        "float8_e4m3fnuz" => Dtype::F8_E4M3FNUZ,
        "float8_e5m2fnuz" => Dtype::F8_E5M2FNUZ,
        "float8_e8m0fnu" => Dtype::F8_E8M0,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "bool" => Dtype::BOOL,
        "complex64" => Dtype::C64,
        _ => return None,
    })
}
