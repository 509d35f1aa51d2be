//! Writes state dicts as `torch.save` does, in the zip form (since PyTorch 1.6) and the legacy form before it.
//!
//! The pickles are written opcode by opcode as Python's protocol 2 writes them, memo included, so that a reader meets what it
//! meets in real files. `tests/goldens/check_pth.py` loads the result in torch.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;

use super::seeded::{Dtype, Tensor, Values};

/// Which container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Zip,
    Legacy,
}

/// How the state dict is saved.
#[derive(Clone, Copy, Debug)]
pub struct Pth<'a> {
    pub form: Form,
    pub dtype: Dtype,
    /// Put before every name: `module.` is what `DataParallel` leaves.
    pub prefix: &'a str,
    /// The state dict is one entry of a checkpoint, beside an epoch: `state_dict` or `model`.
    pub under: Option<&'a str>,
}

impl Pth<'_> {
    /// A bare state dict.
    pub fn bare(form: Form, dtype: Dtype) -> Self {
        Self { form, dtype, prefix: "", under: None }
    }

    pub fn write(&self, path: &Path, tensors: &[Tensor]) {
        let result = match self.form {
            Form::Zip => self.write_zip(path, tensors),
            Form::Legacy => self.write_legacy(path, tensors),
        };
        result.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    fn write_zip(&self, path: &Path, tensors: &[Tensor]) -> std::io::Result<()> {
        let mut zip = zip::ZipWriter::new(BufWriter::new(File::create(path)?));
        // Stored, and at multiples of 64 bytes, as torch does.
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).with_alignment(64);
        let keys: Vec<String> = (0..tensors.len()).map(|i| i.to_string()).collect();
        zip.start_file("archive/data.pkl", options)?;
        zip.write_all(&self.object(tensors, &keys))?;
        zip.start_file("archive/byteorder", options)?;
        zip.write_all(b"little")?;
        for (key, tensor) in keys.iter().zip(tensors) {
            zip.start_file(format!("archive/data/{key}"), options)?;
            zip.write_all(&tensor.bytes(self.dtype))?;
        }
        zip.start_file("archive/version", options)?;
        zip.write_all(b"3\n")?;
        zip.finish()?.flush()
    }

    /// Five pickles (magic number, version, machine, object, storage keys), then per key the element count and the bytes.
    fn write_legacy(&self, path: &Path, tensors: &[Tensor]) -> std::io::Result<()> {
        // Torch names storages by address.
        let keys: Vec<String> = (0..tensors.len()).map(|i| (94_187_463_264_000 + 64 * i).to_string()).collect();
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")?;
        out.write_all(b"\x80\x02M\xe9\x03.")?;
        let mut machine = Pickle::new();
        machine.dict(|p| {
            p.text("protocol_version");
            p.int(1001);
            p.text("little_endian");
            p.op(b"\x88");
            p.text("type_sizes");
            p.dict(|p| {
                for (name, size) in [("short", 2), ("int", 4), ("long", 4)] {
                    p.text(name);
                    p.int(size);
                }
            });
        });
        out.write_all(&machine.finish())?;
        out.write_all(&self.object(tensors, &keys))?;
        let mut list = Pickle::new();
        list.op(b"]");
        list.put();
        list.op(b"(");
        keys.iter().for_each(|key| list.text(key));
        list.op(b"e");
        out.write_all(&list.finish())?;
        for tensor in tensors {
            out.write_all(&(count(tensor) as u64).to_le_bytes())?;
            out.write_all(&tensor.bytes(self.dtype))?;
        }
        out.flush()
    }

    /// The pickle of the saved object; `keys[i]` names the storage of `tensors[i]`.
    fn object(&self, tensors: &[Tensor], keys: &[String]) -> Vec<u8> {
        let mut p = Pickle::new();
        match self.under {
            None => self.state_dict(&mut p, tensors, keys),
            Some(name) => p.dict(|p| {
                p.text("epoch");
                p.int(90);
                p.text(name);
                self.state_dict(p, tensors, keys);
            }),
        }
        p.finish()
    }

    fn state_dict(&self, p: &mut Pickle, tensors: &[Tensor], keys: &[String]) {
        p.ordered_dict();
        p.op(b"(");
        for (tensor, key) in tensors.iter().zip(keys) {
            p.text(&format!("{}{}", self.prefix, tensor.name));
            self.tensor(p, tensor, key);
        }
        p.op(b"u");
        // `Module.state_dict` hangs a version per module on the dict, which pickle sets with BUILD.
        p.dict(|p| {
            p.text("_metadata");
            p.ordered_dict();
            p.op(b"(");
            p.text("");
            p.dict(|p| {
                p.text("version");
                p.int(1);
            });
            p.op(b"u");
        });
        p.op(b"b");
    }

    fn tensor(&self, p: &mut Pickle, tensor: &Tensor, key: &str) {
        p.global("torch._utils", "_rebuild_tensor_v2");
        p.op(b"((");
        p.text("storage");
        p.global("torch", self.storage_class(tensor));
        p.text(key);
        p.text("cpu");
        p.int(count(tensor));
        if self.form == Form::Legacy {
            p.op(b"N"); // no view of another storage
        }
        p.op(b"t");
        p.put();
        p.op(b"Q");
        p.int(0);
        p.ints(&tensor.shape);
        p.ints(&row_major(&tensor.shape));
        p.op(b"\x89"); // requires no gradient
        p.ordered_dict(); // no hooks
        p.op(b"t");
        p.put();
        p.op(b"R");
        p.put();
    }

    fn storage_class(&self, tensor: &Tensor) -> &'static str {
        match (&tensor.values, self.dtype) {
            (Values::Count(_), _) => "LongStorage",
            (Values::Float(_), Dtype::F32) => "FloatStorage",
            (Values::Float(_), Dtype::F16) => "HalfStorage",
            (Values::Float(_), Dtype::Bf16) => "BFloat16Storage",
        }
    }
}

fn count(tensor: &Tensor) -> usize {
    tensor.shape.iter().product()
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect()
}

/// A protocol-2 pickle under way. What Python would memoise is memoised, and repeated names are fetched from the memo.
struct Pickle {
    out: Vec<u8>,
    memo: HashMap<String, u32>,
    next: u32,
}

impl Pickle {
    fn new() -> Self {
        Self { out: b"\x80\x02".to_vec(), memo: HashMap::new(), next: 0 }
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.push(b'.');
        self.out
    }

    fn op(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn put(&mut self) -> u32 {
        let id = self.next;
        self.next += 1;
        match u8::try_from(id) {
            Ok(id) => self.op(&[b'q', id]),
            Err(_) => {
                self.op(b"r");
                self.op(&id.to_le_bytes());
            }
        }
        id
    }

    /// Writes `bytes` and memoises the object under `name`, or fetches it.
    fn once(&mut self, name: String, bytes: &[u8]) {
        if let Some(&id) = self.memo.get(&name) {
            match u8::try_from(id) {
                Ok(id) => self.op(&[b'h', id]),
                Err(_) => {
                    self.op(b"j");
                    self.op(&id.to_le_bytes());
                }
            }
        } else {
            self.op(bytes);
            let id = self.put();
            self.memo.insert(name, id);
        }
    }

    fn text(&mut self, s: &str) {
        let bytes = [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat();
        self.once(format!("text {s}"), &bytes);
    }

    fn global(&mut self, module: &str, name: &str) {
        let bytes = format!("c{module}\n{name}\n");
        self.once(bytes.clone(), bytes.as_bytes());
    }

    fn int(&mut self, v: usize) {
        if let Ok(v) = u8::try_from(v) {
            self.op(&[b'K', v]);
        } else if let Ok(v) = u16::try_from(v) {
            self.op(b"M");
            self.op(&v.to_le_bytes());
        } else {
            self.op(b"J");
            self.op(&i32::try_from(v).expect("test tensors are below 2^31 elements").to_le_bytes());
        }
    }

    fn ints(&mut self, v: &[usize]) {
        if v.is_empty() {
            return self.op(b")"); // the empty tuple is not memoised
        }
        if v.len() > 3 {
            self.op(b"(");
        }
        v.iter().for_each(|&v| self.int(v));
        self.op(match v.len() {
            1 => b"\x85",
            2 => b"\x86",
            3 => b"\x87",
            _ => b"t",
        });
        self.put();
    }

    fn dict(&mut self, items: impl FnOnce(&mut Self)) {
        self.op(b"}");
        self.put();
        self.op(b"(");
        items(self);
        self.op(b"u");
    }

    /// `collections.OrderedDict()`, still empty.
    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.op(b")R");
        self.put();
    }
}
