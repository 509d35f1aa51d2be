//! Numbers on a multiple of 64 bytes: a vector that straddles two cache lines costs two reads.

/// Numbers of a cache line.
pub(super) const LINE: usize = 16;

/// Numbers that start on a cache line.
#[derive(Default)]
pub(super) struct Numbers {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

impl Numbers {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let memory = vec![0.0; len + LINE];
        // `align_offset` may decline to answer, which costs speed only.
        let start = Some(memory.as_ptr().align_offset(LINE * size_of::<f32>())).filter(|&start| start < LINE).unwrap_or(0);
        Self { memory, start, len }
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &self.memory[self.start..][..self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..][..self.len]
    }

    /// The first `len` numbers, after making room for them. They hold anything.
    pub(super) fn at_least(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Self::default(); // so that old and new are not there at once
            *self = Self::zeros(len);
        }
        &mut self.as_mut_slice()[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_zeros_on_a_line_and_make_room() {
        for len in [0, 1, 17, 100_000] {
            let mut numbers = Numbers::zeros(len);
            assert_eq!(numbers.as_slice(), vec![0.0; len]);
            assert_eq!(numbers.as_slice().as_ptr() as usize % 64, 0, "{len}");
            assert_eq!(numbers.at_least(len / 2).len(), len / 2);
            assert_eq!(numbers.as_slice().len(), len);
            assert_eq!(numbers.at_least(2 * len).len(), 2 * len);
        }
    }
}
