//! Batches whose maps the device and the processor compute.

use camshaft::cam::{
    Asked, Evidence, Head, Library, Map, Masking, Method, Normalisation, Score, Smoothing, Target, Targets, Term,
};
use camshaft::cuda::{
    AskedShape, CamClasses, CamEigen, CamEigenArgs, CamOutput, CamRows, CamRowsArgs, CamShape, CamUpsample, CamUpsampleArgs,
    Element, RowsShape, Show, encode_asked,
};
use camshaft::tensor::Nhwc;

use super::cuda::{Buffer, Device, Guarded, Room, integers};

/// Features, classifier and logits of a batch.
pub struct Batch {
    pub features: Nhwc,
    pub head: Head,
    /// `[N, K]`.
    pub logits: Vec<f32>,
    pub room: Room,
}

/// What the kernels left.
pub struct Found {
    pub index: Vec<f32>,
    pub raw: Vec<f32>,
    pub shown: Vec<f32>,
}

impl Batch {
    /// Whole numbers, of features none negative and a third of the channels off; logits as the classifier has them.
    pub fn integers(shape: [usize; 4], classes: usize, room: Room) -> Self {
        let c = shape[3];
        let features = integers(11, shape.iter().product(), 9).into_iter().enumerate();
        let features = features.map(|(i, v)| if i % c % 3 == 2 { 0.0 } else { v.max(0.0) }).collect();
        let head = Head::new(integers(12, classes * c, 5), integers(13, classes, 3));
        Self::new(Nhwc::new(shape, features), head, room)
    }

    pub fn new(features: Nhwc, head: Head, room: Room) -> Self {
        let mut batch = Self { features, head, logits: Vec::new(), room };
        let means = batch.means();
        let logit = |mean: &[f64], class: usize| {
            let dot = batch.head.row(class).iter().zip(mean).map(|(&w, a)| f64::from(w) * a).sum::<f64>();
            (f64::from(batch.head.bias()[class]) + dot) as f32
        };
        batch.logits = means
            .chunks_exact(batch.head.channels())
            .flat_map(|mean| (0..batch.head.classes()).map(move |class| logit(mean, class)))
            .collect();
        batch
    }

    /// `[N, C]`.
    fn means(&self) -> Vec<f64> {
        let [n, h, w, c] = self.features.shape();
        let mean = |n: usize, k: usize| {
            self.features.image(n).iter().skip(k).step_by(c).map(|&v| f64::from(v)).sum::<f64>() / (h * w) as f64
        };
        (0..n).flat_map(|n| (0..c).map(move |k| mean(n, k))).collect()
    }

    pub fn logits(&self, image: usize) -> &[f32] {
        &self.logits[image * self.head.classes()..][..self.head.classes()]
    }

    fn evidence(&self, image: usize) -> Evidence<'_> {
        Evidence::new(&self.head, &self.features, image, self.logits(image)).unwrap()
    }

    /// All maps of an image, by the processor.
    pub fn maps(&self, image: usize, asked: &Asked) -> Vec<Map> {
        let targets = asked.targets.of(self.logits(image));
        let of = |target: &Target| {
            asked
                .methods
                .iter()
                .map(|&method| self.evidence(image).map(method, target, asked.library).unwrap())
                .collect::<Vec<_>>()
        };
        targets.iter().flat_map(of).collect()
    }

    pub fn shape(&self, asked: &Asked) -> RowsShape {
        let [n, h, w, c] = self.features.shape();
        let classes = self.head.classes();
        RowsShape { n, cells: h * w, c, classes, asked: AskedShape::of(asked, classes).unwrap() }
    }

    pub fn run<T: Element + Guarded>(&self, device: &Device, asked: &Asked, show: Option<Show>, size: (usize, usize)) -> Found {
        let ([n, h, w, c], room, shape) = (self.features.shape(), self.room, self.shape(asked));
        let (classes, maps) = (shape.classes, shape.asked.maps());
        let words = encode_asked(asked, classes, show).unwrap().iter().map(|&v| v.into()).collect::<Vec<f32>>();
        let means: Vec<f32> = self.means().iter().map(|&mean| mean as f32).collect();
        let features = Buffer::<T>::new(device, self.features.data(), room);
        let weights = Buffer::<T>::new(device, self.head.weights(), room);
        let bias = Buffer::<f32>::new(device, self.head.bias(), room);
        let (means, logits) = (Buffer::<f32>::new(device, &means, room), Buffer::<f32>::new(device, &self.logits, room));
        let asked_bytes = Buffer::<u8>::new(device, &words, room);
        let ranked = if shape.asked.terms.is_none() { n * shape.asked.targets } else { 0 };
        let mut index = Buffer::<i32>::output(device, ranked.max(1), room);
        let mut rows = Buffer::<f32>::output(device, shape.words(), room);
        let mut raw = Buffer::<f32>::output(device, n * maps * h * w, room);
        let mut range = Buffer::<f32>::output(device, n * maps * 2, room);
        let mut shown = Buffer::<f32>::output(device, n * maps * size.0 * size.1, room);
        let args = CamRowsArgs {
            shape,
            features: features.span(device),
            weights: weights.span(device),
            bias: bias.span(device),
            means: means.span(device),
            logits: logits.span(device),
            asked: asked_bytes.span(device),
            index: index.span_mut(device),
            rows: rows.span_mut(device),
        };
        CamRows::<T>::new(&device.modules).unwrap().launch(&device.stream, args).unwrap();
        let (features, asked) = (features.span(device), asked_bytes.span(device));
        let args = CamEigenArgs { shape, features, asked, rows: rows.span_mut(device) };
        CamEigen::<T>::new(&device.modules).unwrap().launch(&device.stream, args).unwrap();
        let args = CamUpsampleArgs {
            shape: CamShape { n, h, w, c, classes, maps, out_h: size.0, out_w: size.1 },
            features,
            weights: weights.span(device),
            classes: CamClasses::Rows(rows.span(device)),
            normalisation: Normalisation::None,
            raw: raw.span_mut(device),
            range: range.span_mut(device),
            output: CamOutput::F32(shown.span_mut(device)),
        };
        CamUpsample::<T>::new(&device.modules).unwrap().launch(&device.stream, args).unwrap();
        let index = index.values(device)[..ranked].to_vec();
        Found { index, raw: raw.values(device), shown: shown.values(device) }
    }
}

pub fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |largest, v| largest.max(v.abs()))
}

pub fn target(terms: &[(usize, f64)], score: Score) -> Target {
    Target::new(terms.iter().map(|&(class, factor)| Term { class, factor }).collect(), score).unwrap()
}

pub fn asked(targets: Targets, methods: &[Method], library: Option<Library>) -> Asked {
    let (smoothing, masking) = (Smoothing::default(), Masking::default());
    Asked { targets, methods: methods.to_vec(), library, own_normalisation: false, smoothing, masking }
}

/// Methods that tell targets of any form apart.
pub fn telling() -> Vec<Method> {
    let tells = |method: &Method| method.looks_at_classes() && *method != Method::FinerCam;
    Method::ONE_PASS.iter().copied().filter(tells).collect()
}
