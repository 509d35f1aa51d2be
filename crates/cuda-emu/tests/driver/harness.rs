//! A context for each test, and small kernels.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cuda_emu::driver::{Installed, install};
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, CudaFunction, DriverError};
use cudarc::nvrtc::Ptx;
use serde_json::Value;

/// A context of its own, so that tests share neither memory nor errors. One test at a time, because settings and report are shared.
pub struct Device {
    pub installed: Installed,
    pub context: Arc<CudaContext>,
    _one: MutexGuard<'static, ()>,
}

/// A fresh device with these settings beside the defaults.
pub fn device(settings: &[(&str, &str)]) -> Device {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let defaults = [
        ("CUDA_EMU_REPORT", ""),
        ("CUDA_EMU_MEMORY", ""),
        ("CUDA_EMU_PTX", ""),
        ("CUDA_EMU_DEVICE", "A100"),
        ("CUDA_EMU_CHECK", "fail"),
        ("CUDA_EMU_STREAMS", "eager"),
    ];
    let installed = install(&[&defaults[..], settings].concat()).unwrap();
    installed.take_report();
    let context = CudaContext::new_non_primary(0, 0).unwrap();
    Device { installed, context, _one: one }
}

impl Device {
    /// Loads PTX and looks a kernel up.
    pub fn kernel(&self, ptx: &str, name: &str) -> CudaFunction {
        self.context.load_module(Ptx::from_src(ptx)).unwrap().load_function(name).unwrap()
    }

    /// Ends the context, which nothing may use any more, and returns everything that was recorded.
    pub fn report(self) -> Value {
        let Device { installed, context, _one } = self;
        assert_eq!(Arc::strong_count(&context), 1, "the context is still in use");
        drop(context);
        installed.take_report()
    }

    /// Ends the context and returns the kinds and messages of all findings.
    pub fn findings(self) -> Vec<(String, String)> {
        let report = self.report();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        report["findings"].as_array().unwrap().iter().map(|f| (text(f, "kind"), text(f, "message"))).collect()
    }

    /// Ends the context and expects exactly one finding of this kind, with these words in its message.
    pub fn expect(self, kind: &str, words: &str) {
        let findings = self.findings();
        assert!(findings.len() == 1 && findings[0].0 == kind && findings[0].1.contains(words), "{kind}, {words}: {findings:#?}");
    }

    /// Ends the context and expects nothing to complain about.
    pub fn finish(self) {
        let findings = self.findings();
        assert!(findings.is_empty(), "{findings:#?}");
    }
}

/// The code of a failure.
pub fn code<T: std::fmt::Debug>(result: Result<T, DriverError>) -> CUresult {
    result.unwrap_err().0
}

/// `fill(out, value)`: thread `i` of the grid writes `value + i` to `out[i]`.
/// `add(out, in)`: thread `i` adds `in[i]` to `out[i]`. At most 256 threads a block.
/// `shared(out)`: thread `i` passes `i` through 1024 bytes of static and the rest of dynamic shared memory.
pub const KERNELS: &str = r#"
.version 7.5
.target sm_75
.address_size 64

.visible .global .align 4 .u32 scale = 3;
.extern .shared .align 16 .b8 dynamic[];

.visible .entry fill(.param .u64 out, .param .u32 value)
{
    .reg .b32 %r<8>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [value];
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    add.s32 %r6, %r5, %r1;
    mul.wide.s32 %rd2, %r5, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r6;
    ret;
}

.visible .entry add(.param .u64 out, .param .u64 in)
.maxntid 256, 1, 1
{
    .reg .b32 %r<8>;
    .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [out];
    ld.param.u64 %rd2, [in];
    cvta.to.global.u64 %rd1, %rd1;
    cvta.to.global.u64 %rd2, %rd2;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    mul.wide.s32 %rd3, %r5, 4;
    add.s64 %rd4, %rd1, %rd3;
    add.s64 %rd5, %rd2, %rd3;
    ld.global.u32 %r6, [%rd4];
    ld.global.u32 %r7, [%rd5];
    add.s32 %r6, %r6, %r7;
    st.global.u32 [%rd4], %r6;
    ret;
}

.visible .entry shared(.param .u64 out)
{
    .shared .align 4 .b8 fixed[1024];
    .reg .b32 %r<8>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [out];
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r1, %tid.x;
    shl.b32 %r2, %r1, 2;
    mov.u32 %r3, fixed;
    add.s32 %r3, %r3, %r2;
    st.shared.u32 [%r3], %r1;
    ld.shared.u32 %r4, [%r3];
    mov.u32 %r5, dynamic;
    add.s32 %r5, %r5, %r2;
    st.shared.u32 [%r5], %r4;
    ld.shared.u32 %r6, [%r5];
    mul.wide.s32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r6;
    ret;
}
"#;
