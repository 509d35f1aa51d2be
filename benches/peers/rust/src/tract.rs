use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

use super::{Options, Pass};

pub fn load(options: &Options, n: usize, images: Vec<f32>) -> anyhow::Result<Pass> {
    set_default_executor(Executor::multithread(options.number("threads")?));
    let model = onnx().model_for_path(options.get("onnx")?)?;
    let model = model.with_input_fact(0, f32::fact([n, 3, 224, 224]).into())?.into_optimized()?.into_runnable()?;
    let images: TValue = Tensor::from_shape(&[n, 3, 224, 224], &images)?.into();
    Ok(Box::new(move || {
        let found = model.run(tvec!(images.clone()))?;
        Ok(found[0].to_plain_array_view::<f32>()?.iter().copied().collect())
    }))
}
