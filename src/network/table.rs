//! The network as a table of named layers.

use super::{Architecture, Block, Conv2dShape, NetworkError, Window};

/// Where a layer reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The input image, `[N, H, W, 3]`.
    Image,
    /// The output of the layer with this index.
    Layer(usize),
}

/// What a layer computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Convolution, batch norm, then the residual (if any) is added, then ReLU (if any).
    Conv2d {
        /// Input channels.
        c: usize,
        /// Output channels.
        k: usize,
        /// Filter extents, stride and border.
        window: Window,
        /// Name of the batch norm that follows.
        batch_norm: String,
        /// Added before the ReLU.
        residual: Option<Value>,
        /// Whether negative values become 0.
        relu: bool,
    },
    /// Largest value of a window; the border never wins.
    MaxPool2d(Window),
    /// Mean over all positions: `[N, H, W, C]` to `[N, 1, 1, C]`.
    GlobalAvgPool,
    /// Matrix product with bias: `[N, 1, 1, C]` to `[N, 1, 1, K]`.
    Linear {
        /// Input features.
        c: usize,
        /// Output features.
        k: usize,
    },
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// torchvision's name of the module, such as `layer1.0.conv1`, `maxpool` or `fc`.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it reads.
    pub input: Value,
}

/// Output of a layer for a given input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// `[N, H, W, C]` of the output.
    pub output: [usize; 4],
    /// The problem, for a convolution.
    pub conv2d: Option<Conv2dShape>,
    /// Floating-point operations, 2 per multiply-add.
    pub flops: u64,
}

/// A ResNet as layers in the order in which they run; each reads the image or earlier layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    architecture: Architecture,
    layers: Vec<Layer>,
    features: usize,
}

impl Network {
    /// The table of `architecture`, under torchvision's names.
    pub fn new(architecture: Architecture) -> Self {
        let mut build = Builder { layers: Vec::new() };
        let (width, expansion) = (architecture.width(), architecture.block().expansion());
        let stem = Window { size: (7, 7), stride: 2, pad: 3 };
        build.conv("conv1", "bn1", Value::Image, (3, width), stem, None, true);
        let mut x = build.push("maxpool", Op::MaxPool2d(Window { size: (3, 3), stride: 2, pad: 1 }), Value::Layer(0));
        let mut channels = width;
        for (stage, &depth) in architecture.depths().iter().enumerate() {
            let planes = width << stage;
            for index in 0..depth {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let prefix = format!("layer{}.{index}", stage + 1);
                x = build.block(architecture.block(), &prefix, x, (channels, planes), stride);
                channels = planes * expansion;
            }
        }
        let features = build.layers.len() - 1;
        let pooled = build.push("avgpool", Op::GlobalAvgPool, x);
        build.push("fc", Op::Linear { c: channels, k: architecture.classes() }, pooled);
        Self { architecture, layers: build.layers, features }
    }

    /// The architecture.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The rows, in the order in which they run.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Index of the layer whose output is the feature map under the classifier, torchvision's `layer4`.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The same table with as many channels of every convolution as `filled` makes of those that it has, but for the image's.
    #[cfg(feature = "cuda")]
    pub(crate) fn filled_up(&self, filled: impl Fn(usize) -> usize) -> Self {
        let mut table = self.clone();
        for layer in &mut table.layers {
            if let Op::Conv2d { c, k, .. } = &mut layer.op {
                *k = filled(*k);
                *c = if layer.input == Value::Image { *c } else { filled(*c) };
            }
        }
        table
    }

    /// Whether a layer reads the image and its output is read by nothing but the max pool that follows, so that both may be computed
    /// as one.
    pub fn is_pooled(&self, layer: usize) -> bool {
        let reads = |reader: &Layer| {
            let residual = if let Op::Conv2d { residual, .. } = reader.op { residual } else { None };
            [Some(reader.input), residual].contains(&Some(Value::Layer(layer)))
        };
        let mut readers = self.layers.iter().enumerate().filter(|(_, reader)| reads(reader));
        let pool = readers.next().is_some_and(|(index, reader)| index == layer + 1 && matches!(reader.op, Op::MaxPool2d(_)));
        self.layers[layer].input == Value::Image && pool && readers.next().is_none()
    }

    /// Index of a layer by torchvision's name. A block or stage (`layer4.1`, `layer4`) means its last convolution.
    pub fn find(&self, name: &str) -> Option<usize> {
        let within = |layer: &Layer| layer.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.layers.iter().rposition(within)
    }

    /// The convolution of the shortcut that layer `index` adds, where a block's input and output differ (He et al. 2015, eq. 2): 1x1,
    /// without ReLU, and read by nobody else, so that both may be computed as one.
    pub fn projection(&self, index: usize) -> Option<usize> {
        let residual = |layer: &Layer| if let Op::Conv2d { residual, .. } = layer.op { residual } else { None };
        let Some(Value::Layer(from)) = residual(&self.layers[index]) else { return None };
        let Op::Conv2d { window: Window { size: (1, 1), pad: 0, .. }, residual: None, relu: false, .. } = self.layers[from].op
        else {
            return None;
        };
        let value = Value::Layer(from);
        let reads = self.layers.iter().flat_map(|layer| [Some(layer.input), residual(layer)]).filter(|&read| read == Some(value));
        (reads.count() == 1).then_some(from)
    }

    /// Shapes and costs of all layers for an image batch `[n, h, w, 3]`.
    ///
    /// # Errors
    /// [`NetworkError::Geometry`] for an empty or excessive image.
    pub fn shapes(&self, n: usize, h: usize, w: usize) -> Result<Vec<LayerShape>, NetworkError> {
        let mut shapes: Vec<LayerShape> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let input = match layer.input {
                Value::Image => [n, h, w, 3],
                Value::Layer(index) => shapes[index].output,
            };
            shapes.push(layer.shape(input)?);
        }
        Ok(shapes)
    }
}

impl Layer {
    /// Output and cost for an input `[N, H, W, C]`.
    fn shape(&self, input: [usize; 4]) -> Result<LayerShape, NetworkError> {
        let plain = |output: [usize; 4], flops: u64| LayerShape { output, conv2d: None, flops };
        let [n, h, w, c] = input;
        Ok(match &self.op {
            Op::Conv2d { k, window, .. } => {
                let shape = Conv2dShape::new(input, *k, *window)?;
                LayerShape { output: shape.output(), conv2d: Some(shape), flops: shape.flops() }
            }
            // A pooling has the geometry of a convolution that keeps its channels.
            Op::MaxPool2d(window) => plain(Conv2dShape::new(input, c, *window)?.output(), 0),
            Op::GlobalAvgPool => plain([n, 1, 1, c], (n * h * w * c) as u64),
            Op::Linear { c, k } => plain([n, 1, 1, *k], 2 * (n * c * k) as u64),
        })
    }
}

/// Appends layers.
struct Builder {
    layers: Vec<Layer>,
}

impl Builder {
    fn push(&mut self, name: &str, op: Op, input: Value) -> Value {
        self.layers.push(Layer { name: name.to_owned(), op, input });
        Value::Layer(self.layers.len() - 1)
    }

    #[allow(clippy::too_many_arguments)] // one argument per column of the table
    fn conv(
        &mut self,
        name: &str,
        batch_norm: &str,
        input: Value,
        (c, k): (usize, usize),
        window: Window,
        residual: Option<Value>,
        relu: bool,
    ) -> Value {
        self.push(name, Op::Conv2d { c, k, window, batch_norm: batch_norm.to_owned(), residual, relu }, input)
    }

    fn block(&mut self, block: Block, prefix: &str, x: Value, (c, planes): (usize, usize), stride: usize) -> Value {
        let k = planes * block.expansion();
        let point = |stride| Window { size: (1, 1), stride, pad: 0 };
        let square = |stride| Window { size: (3, 3), stride, pad: 1 };
        let identity = if stride != 1 || c != k {
            let (conv, norm) = (format!("{prefix}.downsample.0"), format!("{prefix}.downsample.1"));
            self.conv(&conv, &norm, x, (c, k), point(stride), None, false)
        } else {
            x
        };
        let steps: &[(usize, usize, Window)] = match block {
            Block::Basic => &[(c, planes, square(stride)), (planes, k, square(1))],
            Block::Bottleneck => &[(c, planes, point(1)), (planes, planes, square(stride)), (planes, k, point(1))],
        };
        let mut y = x;
        for (index, &(c, k, window)) in steps.iter().enumerate() {
            let (conv, norm) = (format!("{prefix}.conv{}", index + 1), format!("{prefix}.bn{}", index + 1));
            let residual = (index + 1 == steps.len()).then_some(identity);
            y = self.conv(&conv, &norm, y, (c, k), window, residual, true);
        }
        y
    }
}
