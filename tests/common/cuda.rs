//! A CUDA device and guarded buffers for tests.

use std::sync::Arc;

use camshaft::cuda::{Modules, Span, SpanMut};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DeviceRepr};
use half::{bf16, f16};

/// The device of the tests, with the kernels of this build.
pub struct Device {
    pub stream: Arc<CudaStream>,
    pub modules: Modules,
}

impl Device {
    /// The software device, or with `CAMSHAFT_TEST_DEVICE=gpu` the first of the installed driver.
    ///
    /// # Panics
    /// Without a device, or if the crate was built without kernels: a test that cannot run has not passed.
    pub fn open() -> Self {
        if software() {
            install();
        }
        let context = CudaContext::new(0).unwrap_or_else(|error| panic!("these tests need a CUDA device: {error}"));
        // SAFETY: one stream does all the work, so that no event is needed to order it.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().expect("a stream");
        let modules = Modules::new(context).unwrap_or_else(|error| panic!("{error}"));
        Self { stream, modules }
    }
}

/// Whether the tests run on the software device.
pub fn software() -> bool {
    std::env::var_os("CAMSHAFT_TEST_DEVICE").is_none_or(|device| device != "gpu")
}

/// Makes this process use the software device.
pub fn install() -> cuda_emu::driver::Installed {
    cuda_emu::driver::install(&[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs those tests of this program whose names contain one of `names` once more, in a process of its own whose software device has
/// these settings. `passed`: how many they are.
pub fn with_settings(settings: &[(&str, &str)], names: &[&str], passed: usize) {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program).args(names).envs(settings.iter().copied()).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let all = stdout.contains(&format!("test result: ok. {passed} passed;"));
    assert!(output.status.success() && all, "{settings:?}\n{stdout}\n{stderr}");
}

/// The same words, for as long; `span` is used no more.
pub fn unsigned(span: SpanMut<'_, i32>) -> SpanMut<'_, u32> {
    // SAFETY: as above.
    unsafe { SpanMut::from_raw(span.address(), span.len()) }
}

/// Other GPUs, other orders of blocks, and the other way to round, as the software device plays them.
pub const OTHER_DEVICES: [[(&str, &str); 3]; 3] = [
    [("CUDA_EMU_ORDER", "random"), ("CUDA_EMU_SEED", "1"), ("CUDA_EMU_MMA", "block8")],
    [("CUDA_EMU_ORDER", "random"), ("CUDA_EMU_SEED", "2"), ("CUDA_EMU_DEVICE", "H100")],
    [("CUDA_EMU_ORDER", "reverse"), ("CUDA_EMU_STREAMS", "lazy"), ("CUDA_EMU_DEVICE", "T4")],
];

/// Elements that can tell whether they were touched.
pub trait Guarded: DeviceRepr + Copy + PartialEq + std::fmt::Debug {
    /// A NaN that no kernel makes.
    const GUARD: Self;
    /// Its bits, as NaN equals nothing.
    fn bits(self) -> u32;
    /// Exact for the small integers of the tests.
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

impl Guarded for f32 {
    const GUARD: Self = f32::from_bits(0x7fab_cdef);
    fn bits(self) -> u32 {
        self.to_bits()
    }
    fn from_f32(value: f32) -> Self {
        value
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Guarded for f16 {
    const GUARD: Self = f16::from_bits(0x7eab);
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

impl Guarded for bf16 {
    const GUARD: Self = Self::from_bits(0x7fab);
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn to_f32(self) -> f32 {
        Self::to_f32(self)
    }
}

/// What lies round a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing: a software device notices the smallest step outside.
    Exact,
    /// Values that must not change, and that are NaN wherever they are read: notices on any device.
    Guarded,
}

/// Guard elements on either side: keeps 16-byte alignment.
const MARGIN: usize = 64;

/// Elements in device memory.
pub struct Buffer<T> {
    slice: CudaSlice<T>,
    margin: usize,
    len: usize,
}

impl<T: Guarded> Buffer<T> {
    /// Uploads `values`.
    pub fn new(device: &Device, values: &[f32], room: Room) -> Self {
        let margin = if room == Room::Guarded { MARGIN } else { 0 };
        let guard = vec![T::GUARD; margin];
        let host = [guard.clone(), values.iter().map(|&value| T::from_f32(value)).collect(), guard].concat();
        Self { slice: device.stream.clone_htod(&host).expect("device memory"), margin, len: values.len() }
    }

    /// `len` elements that a kernel is to overwrite: guards all of them.
    pub fn output(device: &Device, len: usize, room: Room) -> Self {
        let margin = if room == Room::Guarded { MARGIN } else { 0 };
        let host = vec![T::GUARD; len + 2 * margin];
        Self { slice: device.stream.clone_htod(&host).expect("device memory"), margin, len }
    }

    pub fn span(&self, device: &Device) -> Span<'_, T> {
        let all = Span::of(&self.slice, &device.stream);
        // SAFETY: a part of `all`, for as long.
        unsafe { Span::from_raw(all.address() + (self.margin * size_of::<T>()) as u64, self.len) }
    }

    pub fn span_mut(&mut self, device: &Device) -> SpanMut<'_, T> {
        let (margin, len) = (self.margin, self.len);
        let all = SpanMut::of(&mut self.slice, &device.stream);
        // SAFETY: a part of `all`, for as long; `all` is used no more.
        unsafe { SpanMut::from_raw(all.address() + (margin * size_of::<T>()) as u64, len) }
    }

    /// The values, after everything enqueued has run.
    ///
    /// # Panics
    /// If a guard was overwritten.
    pub fn values(&self, device: &Device) -> Vec<f32> {
        let host = device.stream.clone_dtoh(&self.slice).expect("a copy to the host");
        device.stream.synchronize().expect("all work done");
        let (before, rest) = host.split_at(self.margin);
        let (values, after) = rest.split_at(self.len);
        for (side, guards) in [("before", before), ("after", after)] {
            let touched = guards.iter().position(|guard| guard.bits() != T::GUARD.bits());
            assert_eq!(touched, None, "guard {side} {} elements was overwritten", self.len);
        }
        values.iter().map(|value| value.to_f32()).collect()
    }
}

impl Guarded for u8 {
    const GUARD: Self = 0xa5;
    fn bits(self) -> u32 {
        self.into()
    }
    fn from_f32(value: f32) -> Self {
        value as Self
    }
    fn to_f32(self) -> f32 {
        self.into()
    }
}

impl Guarded for i32 {
    const GUARD: Self = 0x5aa5_a55a;
    fn bits(self) -> u32 {
        self as u32
    }
    fn from_f32(value: f32) -> Self {
        value as Self
    }
    fn to_f32(self) -> f32 {
        self as f32
    }
}

/// Whole numbers from `-most` to `most`, the same for a seed (SplitMix64).
pub fn integers(seed: u64, len: usize, most: i64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 33
    };
    (0..len).map(|_| (next() as i64 % (2 * most + 1) - most) as f32).collect()
}

/// Every value is the wanted one; NaN is nobody's.
#[track_caller]
pub fn equal(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let wrong: Vec<usize> = (0..got.len()).filter(|&i| got[i] != want[i]).collect();
    if let Some(&first) = wrong.first() {
        panic!("{what}: {} of {} differ; first at {first}: got {}, want {}", wrong.len(), got.len(), got[first], want[first]);
    }
}
