//! Which ResNet a file holds, read off its tensors.

use super::NetworkError;
use crate::weights::WeightFile;

/// Residual block of He et al. 2016, fig. 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 (with the stride, as torchvision has it), 1x1 to four times the channels.
    Bottleneck,
}

impl Block {
    /// Output channels per plane of the block.
    pub fn expansion(self) -> usize {
        match self {
            Block::Basic => 1,
            Block::Bottleneck => 4,
        }
    }
}

/// The known depths: name, block, blocks per stage (He et al. 2016, table 1).
const KNOWN: [(&str, Block, [usize; 4]); 5] = [
    ("ResNet-18", Block::Basic, [2, 2, 2, 2]),
    ("ResNet-34", Block::Basic, [3, 4, 6, 3]),
    ("ResNet-50", Block::Bottleneck, [3, 4, 6, 3]),
    ("ResNet-101", Block::Bottleneck, [3, 4, 23, 3]),
    ("ResNet-152", Block::Bottleneck, [3, 8, 36, 3]),
];

/// A ResNet: everything that decides the names and shapes of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    name: &'static str,
    block: Block,
    depths: [usize; 4],
    width: usize,
    classes: usize,
}

impl Architecture {
    /// Reads the architecture off the names and shapes of `file`'s tensors.
    ///
    /// # Errors
    /// [`NetworkError::Architecture`] when they are not those of a ResNet that this crate runs.
    pub fn detect(file: &WeightFile) -> Result<Self, NetworkError> {
        let fault = |reason: String| NetworkError::Architecture { path: file.path().to_owned(), reason, tensors: sample(file) };
        let shape = |name: &str, rank: usize| -> Result<Vec<usize>, NetworkError> {
            let view = file.tensor(name).ok_or_else(|| fault(format!("there is no tensor `{name}`")))?;
            if view.shape().len() != rank || view.shape().contains(&0) {
                return Err(fault(format!("tensor `{name}` has shape {:?}, expected {rank} extents", view.shape())));
            }
            Ok(view.shape().to_vec())
        };
        let (stem, fc) = (shape("conv1.weight", 4)?, shape("fc.weight", 2)?);
        let (width, classes) = (stem[0], fc[0]);
        if width > 4096 {
            return Err(fault(format!("`conv1.weight` has {width} filters, expected at most 4096")));
        }
        let block = match file.tensor("layer1.0.conv3.weight") {
            Some(_) => Block::Bottleneck,
            None => Block::Basic,
        };
        let depths = [1, 2, 3, 4].map(|stage| depth(file, stage));
        let known = KNOWN.iter().find(|&&(_, b, d)| b == block && d == depths);
        let &(name, ..) = known.ok_or_else(|| {
            let kind = if block == Block::Basic { "basic" } else { "bottleneck" };
            fault(format!("its stages have {depths:?} {kind} blocks, which is no known depth"))
        })?;
        Ok(Self { name, block, depths, width, classes })
    }

    /// torchvision's ResNet of this depth (18, 34, 50, 101 or 152) with `classes` classes, if there is one.
    pub fn of_depth(depth: usize, classes: usize) -> Option<Self> {
        let &(name, block, depths) = KNOWN.iter().find(|(name, ..)| name.strip_prefix("ResNet-") == Some(&depth.to_string()))?;
        Some(Self { name, block, depths, width: 64, classes })
    }

    /// The same for another number of the stem's filters.
    #[cfg(all(test, feature = "cuda"))]
    pub(crate) fn with_width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// Residual block of every stage.
    pub fn block(&self) -> Block {
        self.block
    }

    /// Blocks per stage, `layer1` to `layer4`.
    pub fn depths(&self) -> [usize; 4] {
        self.depths
    }

    /// Channels after the stem: 64 in the published networks.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of the classifier.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Channels of `layer4`, and so columns of the classifier: a multiple of 8 whatever the width.
    pub fn features(&self) -> usize {
        self.width * 8 * self.block.expansion()
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        if self.width == 64 { Ok(()) } else { write!(f, " (width {})", self.width) }
    }
}

/// One more than the largest block index of a stage, so that a block missing in the middle is reported as missing tensors.
fn depth(file: &WeightFile, stage: usize) -> usize {
    let prefix = format!("layer{stage}.");
    let indices = file.names().filter_map(|name| name.strip_prefix(&prefix)?.split('.').next()?.parse::<usize>().ok());
    indices.filter(|&index| index < 1000).max().map_or(0, |index| index + 1)
}

/// The first few tensor names, for a message.
fn sample(file: &WeightFile) -> String {
    let mut names: Vec<_> = file.names().take(4).map(|name| format!("`{name}`")).collect();
    let total = file.names().count();
    if total > names.len() {
        names.push(format!("... {total} in all"));
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
