use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarBuilder};
use candle_transformers::models::resnet::resnet18;

use super::{Options, Pass};

/// Its threads are those of `RAYON_NUM_THREADS`, which `run.py` sets.
pub fn load(options: &Options, n: usize, images: Vec<f32>) -> anyhow::Result<Pass> {
    let weights = std::fs::read(options.get("safetensors")?)?;
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let net = resnet18(1000, weights)?;
    let images = Tensor::from_vec(images, (n, 3, 224, 224), &Device::Cpu)?;
    Ok(Box::new(move || Ok(net.forward(&images)?.flatten_all()?.to_vec1()?)))
}
