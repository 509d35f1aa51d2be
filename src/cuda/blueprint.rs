//! What a pass over images of one shape does, step by step, and where everything lies; made before anything is allocated.

use half::f16;

use super::arena::{Layout, Region};
use super::operators::Operators;
use super::real::{Convolutions, Real};
use super::stem::{STEM_CONV, STEM_POOL};
use super::{
    AskedShape, CamShape, CamUpsample, Conv2dProblem, CudaError, Linear, LinearShape, Norm, RowsShape, Show, Stem, StemShape,
    TopkShape, Unsupported, WorkspaceSize,
};
use crate::cam::{Enlarge, Levels, Selection};
use crate::network::{Conv2dShape, Layer, LayerShape, Network, Op, PlannedStep, Slots, Value};

/// What tells one plan from another: everything that a recorded graph has fixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Key {
    /// `[N, H, W]` of the images.
    pub image: [usize; 3],
    /// Whether they come as pictures, so that their pixels are there too.
    pub pixels: bool,
    /// Which maps.
    pub maps: Maps,
    /// What else becomes of them. An overlay needs the pixels.
    pub show: Option<Show>,
    /// Whether a step may be more than one layer: not where every layer is to be seen.
    pub joined: bool,
}

/// The shape of a [`Selection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maps {
    /// Those of the `k` best classes, which the device chooses.
    Top(usize),
    /// Those of as many given classes.
    Classes(usize),
    /// Those of any targets and methods.
    Asked(AskedShape),
}

impl Maps {
    /// `classes`: those of the network.
    ///
    /// # Errors
    /// As [`AskedShape::of`].
    pub(super) fn of(selection: Selection<'_>, classes: usize) -> Result<Self, Unsupported> {
        Ok(match selection {
            Selection::Top(k) => Self::Top(k.min(classes)),
            Selection::Classes(given) => Self::Classes(given.len()),
            Selection::Asked(asked) => Self::Asked(AskedShape::of(asked, classes)?),
        })
    }

    /// Maps of each image.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Top(count) | Self::Classes(count) => count,
            Self::Asked(asked) => asked.maps(),
        }
    }
}

/// One launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The first two layers of the table.
    Stem,
    /// A layer of the table; of a convolution everything that is not a step of its own.
    Layer(usize),
    /// The batch norm of an unfolded convolution, with the residual sum and the ReLU.
    Norm(usize),
    /// The best classes, where the host sums their maps.
    Rank,
    /// The weights of the channels for every target and method, and the classes, where the device chooses.
    Rows,
    /// Of methods that take an eigenvector.
    Eigen,
    /// The best classes, where the device chooses and no step before has, and the maps.
    Cam,
}

pub(super) struct Blueprint {
    pub key: Key,
    pub steps: Vec<Step>,
    pub names: Vec<PlannedStep>,
    pub shapes: Vec<LayerShape>,
    /// By layer; the stem's with the image's padded channels.
    pub convs: Vec<Option<Conv2dProblem>>,
    /// By layer, which other one it computes as well: its shortcut's.
    pub projections: Vec<Option<usize>>,
    pub layout: Layout,
    /// `[N, H, W, 3]` u8: what the network sees, before normalisation; empty unless the images come as pictures.
    pub pixels: Region,
    /// What [`Step::Stem`] runs, where there is one.
    pub stem: Option<StemShape>,
    /// `[N, H, W, image_channels]`.
    pub image: Region,
    /// 3 for the stem's kernel, else `T::CHANNELS`.
    pub image_channels: usize,
    /// Outputs, by layer; of those inside a joined step empty.
    pub layers: Vec<Region>,
    /// What is asked, where it is data: the classes, `[maps]`, or what [`super::encode_asked`] makes.
    pub asked: Region,
    /// The maps' shape; `None` if there are none, or a kernel cannot compute them, so that the host does.
    pub cam: Option<CamShape>,
    /// Why the host computes the maps, if it does.
    pub by_host: Option<Unsupported>,
    /// The rows' shape, where there are rows.
    pub rows_shape: Option<RowsShape>,
    /// `[N, maps, C + 4]`: weights, where they are not a class's.
    pub rows: Region,
    /// Whether the linear layer takes the mean over the feature map.
    pub pools: bool,
    /// For convolutions in several parts, one after the other. The counters are zero between launches.
    pub partials: Region,
    pub counters: Region,
    /// `[N, maps]` (of several methods `[N, targets]`), where the device chooses; the probabilities only where it computes no maps.
    pub index: Region,
    pub probability: Region,
    /// `[N, maps, h, w]`, what is shown of them (enlarged, or a picture of 3 bytes a pixel), and `[N, maps, 2]`.
    pub raw: Region,
    pub shown: Region,
    pub range: Region,
    /// Everything that the host reads: logits, index, raw maps, and the enlarged ones where asked for.
    pub results: Region,
}

impl Blueprint {
    /// Plans a pass of `key` over `network`.
    ///
    /// # Errors
    /// [`CudaError::Network`] or [`CudaError::Unsupported`] if the images do not fit the network or a kernel.
    pub(super) fn new<T: Real>(network: &Network, norm: Norm, operators: &Operators<T>, key: Key) -> Result<Self, CudaError> {
        let [n, h, w] = key.image;
        let shapes = network.shapes(n, h, w)?;
        let mut convs = convolutions::<T>(network, &shapes, key)?;
        let projections = join_projections(network, norm, operators, key, &mut convs);
        let is_joined = |index: usize| projections.contains(&Some(index));
        let mut plan = Steps { steps: Vec::new(), names: Vec::new() };
        let stem = stem(network, norm, operators, key);
        if stem.is_some() {
            plan.push(Step::Stem, "conv1, maxpool".to_owned(), Stem::<T>::name());
        }
        let in_stem = if stem.is_some() { 2 } else { 0 };
        let mut workspace = WorkspaceSize::default();
        let mut pooled: Option<[usize; 4]> = None; // what the linear layer takes the mean of
        for (index, layer) in network.layers().iter().enumerate().skip(in_stem).filter(|&(index, _)| !is_joined(index)) {
            let input = match layer.input {
                Value::Image => [n, h, w, T::CHANNELS],
                Value::Layer(from) => shapes[from].output,
            };
            let kernel = match (&layer.op, &convs[index]) {
                (_, Some(conv)) => {
                    let (kernel, needed) = operators.convolutions.choose(conv)?;
                    workspace = workspace.max(needed);
                    kernel
                }
                (Op::MaxPool2d(window), _) => {
                    operators.max_pool.can_run(input, *window)?;
                    format!("maxpool2d_{}_nhwc", T::NAME)
                }
                (Op::Linear { c, k }, _) => {
                    let positions = pooled.map_or(1, |[_, h, w, _]| h * w);
                    operators.linear.can_run(&LinearShape { n, positions, c: *c, k: *k })?;
                    format!("linear_{}", T::NAME)
                }
                // The layer after it takes the mean.
                _ if Linear::<T>::pools(input[1] * input[2]) => {
                    pooled = Some(input);
                    continue;
                }
                _ => {
                    operators.avg_pool.can_run(input)?;
                    format!("global_avg_pool_{}_nhwc", T::NAME)
                }
            };
            let name = match (&layer.op, layer.input, projections[index]) {
                (.., Some(shortcut)) => format!("{}, {}", layer.name, network.layers()[shortcut].name),
                (Op::Linear { .. }, Value::Layer(mean), None) if pooled.is_some() => {
                    format!("{}, {}", network.layers()[mean].name, layer.name)
                }
                _ => layer.name.clone(),
            };
            plan.push(Step::Layer(index), name, kernel);
            if let (Op::Conv2d { batch_norm, k, .. }, Norm::Unfolded) = (&layer.op, norm) {
                operators.batch_norm.can_run(shapes[index].output.iter().product(), *k)?;
                plan.push(Step::Norm(index), batch_norm.clone(), format!("batch_norm_{}_nhwc", T::NAME));
            }
        }

        let count = key.maps.count();
        let [_, map_h, map_w, channels] = shapes[network.features()].output;
        let classes = network.architecture().classes();
        // The kernel always enlarges; where nobody asks, to the size that the maps have.
        let (out_h, out_w) = match key.show {
            None => (map_h, map_w),
            Some(Show::Enlarged(enlarge)) => (enlarge.h, enlarge.w),
            Some(Show::Overlay(_)) => (h, w),
        };
        let cam = CamShape { n, h: map_h, w: map_w, c: channels, classes, maps: count, out_h, out_w };
        let asked = if let Maps::Asked(asked) = key.maps { Some(asked) } else { None };
        let rows_shape = asked.map(|asked| RowsShape { n, cells: map_h * map_w, c: channels, classes, asked });
        let (cam, by_host) = match can_map(operators, &cam, rows_shape.as_ref()) {
            _ if count == 0 => (None, None),
            Ok(()) => (Some(cam), None),
            Err(unsupported) => (None, Some(unsupported)),
        };
        let rows_shape = rows_shape.filter(|_| cam.is_some());
        if let Some(rows) = &rows_shape {
            plan.push(Step::Rows, "cam rows".to_owned(), format!("cam_rows_{}", T::NAME));
            if rows.asked.eigens > 0 {
                plan.push(Step::Eigen, "cam eigenvectors".to_owned(), format!("cam_eigen_{}", T::NAME));
            }
        }
        if let (Maps::Top(k @ 1..), None) = (key.maps, cam) {
            operators.top.can_run(&TopkShape { n, classes, k })?;
            plan.push(Step::Rank, "top-k".to_owned(), "softmax_topk_f32".to_owned());
        }
        if let Some(cam) = &cam {
            let kernel = match key.show {
                None => format!("cam_upsample_{}_f32", T::NAME),
                Some(Show::Enlarged(enlarge)) => format!("cam_upsample_{}_{}", T::NAME, enlarge.levels.name()),
                Some(Show::Overlay(_)) => CamUpsample::<T>::overlay_name(cam),
            };
            plan.push(Step::Cam, "cam".to_owned(), kernel);
        }

        let mut layout = Layout::default();
        let pixel_region = layout.place::<u8>(if key.pixels { n * h * w * 3 } else { 0 });
        let image_channels = if stem.is_some() { 3 } else { T::CHANNELS };
        let image = layout.place::<T>(n * h * w * image_channels);
        let is_stored = |index: usize| (stem.is_none() || index > 0) && !is_joined(index);
        // A batch norm that is a step of its own reads the residual after the convolution has written.
        let slots = Slots::plan_joined(network, &projections, norm == Norm::Folded);
        let (mut layers, last) = (slot_regions::<T>(network, &slots, &shapes, is_stored, &mut layout), shapes.len() - 1);
        let given = match key.maps {
            Maps::Top(_) => 0,
            Maps::Classes(count) => count * size_of::<i32>(),
            Maps::Asked(asked) => asked.bytes(),
        };
        let ranked = match key.maps {
            Maps::Top(k) => n * k,
            Maps::Asked(AskedShape { terms: None, targets, .. }) if cam.is_some() => n * targets,
            Maps::Classes(_) | Maps::Asked(_) => 0,
        };
        let cells = cam.map_or(0, |cam| cam.cells());
        let asked = layout.place_bytes(given);
        let rows = layout.place::<f32>(rows_shape.map_or(0, |rows| rows.words()));
        let probability = layout.place::<f32>(if cam.is_none() { ranked } else { 0 });
        let pixels = cam.map_or(0, |cam| cam.pixels());
        let (partials, counters) = (layout.place::<f32>(workspace.partials), layout.place::<u32>(workspace.counters));
        let range = layout.place::<f32>(if cam.is_some() { n * count * 2 } else { 0 });
        layers[last] = layout.place::<f32>(n * classes);
        let index = layout.place::<i32>(ranked);
        let raw = layout.place::<f32>(cells);
        let shown = match key.show {
            None | Some(Show::Enlarged(Enlarge { levels: Levels::F32, .. })) => layout.place::<f32>(pixels),
            Some(Show::Enlarged(Enlarge { levels: Levels::F16, .. })) => layout.place::<f16>(pixels),
            Some(Show::Enlarged(Enlarge { levels: Levels::U8, .. })) => layout.place::<u8>(pixels),
            Some(Show::Overlay(_)) => layout.place::<u8>(pixels * 3),
        };
        let results = layers[last].through(if key.show.is_some() { shown } else { raw });
        let Steps { steps, names } = plan;
        Ok(Self {
            key,
            steps,
            names,
            shapes,
            convs,
            projections,
            layout,
            pixels: pixel_region,
            stem,
            image,
            image_channels,
            layers,
            asked,
            cam,
            by_host,
            rows_shape,
            rows,
            pools: pooled.is_some(),
            partials,
            counters,
            index,
            probability,
            raw,
            shown,
            range,
            results,
        })
    }
}

struct Steps {
    steps: Vec<Step>,
    names: Vec<PlannedStep>,
}

impl Steps {
    fn push(&mut self, step: Step, layer: String, kernel: String) {
        self.steps.push(step);
        self.names.push(PlannedStep { layer, kernel });
    }
}

/// Whether the device can compute maps of this shape, whose weights are rows if there are `rows`.
fn can_map<T: Real>(operators: &Operators<T>, cam: &CamShape, rows: Option<&RowsShape>) -> Result<(), Unsupported> {
    operators.cam.can_run(cam)?;
    let Some(rows) = rows else { return Ok(()) };
    operators.cam_rows.can_run(rows)?;
    if rows.asked.eigens > 0 { operators.cam_eigen.can_run(rows) } else { Ok(()) }
}

/// The first two layers as one problem, if their kernel can run them and nobody asks for what is between them.
fn stem<T: Real>(network: &Network, norm: Norm, operators: &Operators<T>, key: Key) -> Option<StemShape> {
    let ([n, h, w], kernel) = (key.image, operators.stem.as_ref()?);
    let [Layer { op: Op::Conv2d { c: 3, k, window, relu: true, residual: None, .. }, input: Value::Image, .. }, pool, ..] =
        network.layers()
    else {
        return None;
    };
    let shape = StemShape { n, h, w, k: *k };
    let joins = key.joined && norm == Norm::Folded && *window == STEM_CONV;
    let pools = pool.op == Op::MaxPool2d(STEM_POOL) && pool.input == Value::Layer(0);
    (joins && pools && kernel.can_run(&shape).is_ok()).then_some(shape)
}

/// The convolutions' problems as their kernels see them.
fn convolutions<T: Real>(network: &Network, shapes: &[LayerShape], key: Key) -> Result<Vec<Option<Conv2dProblem>>, CudaError> {
    let [n, h, w] = key.image;
    let conv = |(layer, shape): (&Layer, &LayerShape)| match (&layer.op, layer.input) {
        (Op::Conv2d { c, k, window, .. }, Value::Image) => {
            Conv2dShape::new([n, h, w, c.next_multiple_of(T::CHANNELS)], *k, *window).map(Some)
        }
        _ => Ok(shape.conv2d),
    };
    let problem = |row| conv(row).map(|conv| conv.map(Conv2dProblem::from));
    Ok(network.layers().iter().zip(shapes).map(problem).collect::<Result<_, _>>()?)
}

/// Makes one problem of the last convolution of a block and that of its shortcut, if a kernel can run them and nobody asks for the
/// shortcut's output. Returns, by layer, the shortcut that it computes as well.
fn join_projections<T: Real>(
    network: &Network,
    norm: Norm,
    operators: &Operators<T>,
    key: Key,
    convs: &mut [Option<Conv2dProblem>],
) -> Vec<Option<usize>> {
    let mut projections = vec![None; convs.len()];
    let joins = key.joined && norm == Norm::Folded;
    for index in (0..convs.len()).filter(|_| joins) {
        let Some(shortcut) = network.projection(index) else { continue };
        let (Some(conv), Some(projection)) = (convs[index], convs[shortcut]) else { continue };
        let problem = Conv2dProblem { projection: Some(projection.shape), ..conv };
        if operators.convolutions.choose(&problem).is_ok() {
            (convs[index], projections[index]) = (Some(problem), Some(shortcut));
        }
    }
    projections
}

/// Room for every layer's output: one part per slot, as large as the largest activation that it ever holds. The last layer's
/// is empty: it is placed among the results.
fn slot_regions<T: Real>(
    network: &Network,
    slots: &Slots,
    shapes: &[LayerShape],
    is_stored: impl Fn(usize) -> bool,
    layout: &mut Layout,
) -> Vec<Region> {
    let last = shapes.len() - 1;
    let bytes: Vec<usize> = network
        .layers()
        .iter()
        .zip(shapes)
        .enumerate()
        .map(|(index, (layer, shape))| {
            let element = if layer.op == Op::GlobalAvgPool { size_of::<f32>() } else { size_of::<T>() };
            if index == last || !is_stored(index) { 0 } else { shape.output.iter().product::<usize>() * element }
        })
        .collect();
    let mut largest = vec![0; slots.count()];
    for (index, &bytes) in bytes.iter().enumerate() {
        let slot = &mut largest[slots.of(index)];
        *slot = bytes.max(*slot);
    }
    let regions: Vec<Region> = largest.into_iter().map(|bytes| layout.place_bytes(bytes)).collect();
    bytes.iter().enumerate().map(|(index, &bytes)| regions[slots.of(index)].first(bytes)).collect()
}
