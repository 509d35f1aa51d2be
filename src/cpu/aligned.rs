//! Buffers on a multiple of 64 bytes: a vector that straddles two cache lines costs two reads.

/// Numbers of a cache line.
const LINE: usize = 16;

/// Numbers that start on a cache line.
pub(super) struct Aligned {
    numbers: Vec<f32>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        Self { numbers: vec![0.0; len + LINE], len }
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &self.numbers[start(&self.numbers)..][..self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        aligned(&mut self.numbers, self.len)
    }
}

/// The first `len` numbers of `buffer` that start on a cache line, after making it long enough. They hold anything.
pub(super) fn aligned(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len + LINE {
        buffer.resize(len + LINE, 0.0);
    }
    let start = start(buffer);
    &mut buffer[start..][..len]
}

fn start(numbers: &[f32]) -> usize {
    // `align_offset` may decline to answer, which costs speed only.
    Some(numbers.as_ptr().align_offset(LINE * size_of::<f32>())).filter(|&start| start < LINE).unwrap_or(0)
}
