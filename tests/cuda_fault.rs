//! A fault on the device ends the engine: the error says where, what was finished stays, later calls say the same. A process of
//! its own, because such a fault ends a context for all its users.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::{Found, Selection};
use camshaft::cuda::{Cuda, CudaError, Options};
use camshaft::network::Model;
use camshaft::tensor::{Nhwc, Precision};
use camshaft::weights::WeightFile;
use common::goldens::Golden;
use common::{safetensors_file, seeded, software};
use cudarc::driver::{CudaContext, LaunchConfig};
use cudarc::nvrtc::Ptx;

/// Writes to address 0.
const FAULTY: &str = ".version 7.0
.target sm_75
.address_size 64
.visible .entry faulty()
{
    .reg .b64 %at;
    .reg .b32 %v;
    mov.b64 %at, 0;
    mov.b32 %v, 1;
    st.global.u32 [%at], %v;
    ret;
}
";

#[test]
fn a_fault_ends_the_engine_and_keeps_what_is_finished() {
    let golden = Golden::load("resnet18_w8_c10_97x161_n2_f32");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    let model = Model::load(WeightFile::open(&path).unwrap()).unwrap();

    software::device(&[]);
    let options = Options { precision: Some(Precision::F32), ..Options::default() };
    let cuda = Cuda::new(&model, 0, options).unwrap();
    let images = Nhwc::new([1, 32, 32, 3], seeded::network_input(1, 32, 32, 7));
    let mut found = Found::default();
    cuda.run_into(&images, Selection::Top(1), None, &mut found).unwrap();
    let first = found.clone();

    // Somebody else's kernel in the same context; which of our calls notices is up to the driver.
    let context = CudaContext::new(0).unwrap();
    let stream = context.default_stream();
    let function = context.load_module(Ptx::from_src(FAULTY)).unwrap().load_function("faulty").unwrap();
    let one = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: it is the fault that the test is about.
    unsafe { stream.launch_builder(&function).launch(one) }.unwrap();
    assert!(stream.synchronize().is_err(), "the fault shows");

    let error = cuda.run_into(&images, Selection::Top(1), None, &mut found).unwrap_err();
    println!("{error}");
    assert!(matches!(error, CudaError::Fault { .. } | CudaError::Driver(_)), "{error}");
    assert_eq!(found, first, "what was finished is there, and nothing else");
    for _ in 0..2 {
        let again = cuda.run(&images, Selection::Top(1)).unwrap_err();
        let CudaError::Ended { reason } = &again else { panic!("{again}") };
        assert_eq!(*reason, error.to_string());
    }
    assert!(cuda.plan([1, 32, 32], 1).is_ok(), "questions that need no device are answered");
}
