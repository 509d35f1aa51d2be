//! Launches `conv2d_implicit_gemm_f16_nhwc` and its forms: for any number of channels, with the projection of a residual block, and
//! for capability 7.5.

use cudarc::driver::{CudaFunction, LaunchConfig};

use super::conv2d::{Conv2dParams, GRID_Y, Operands, ProjectionParams, grid};
use super::span;
use super::variants::{Arithmetic, IMPLICIT_GEMM, ImplicitGemm};
use super::{Conv2dArgs, Conv2dProblem, CudaError, Element, Modules, Queue, Unsupported, Workspace, WorkspaceSize};
use crate::network::Conv2dShape;

/// 2-D convolution in f16 or bf16 on tensor cores; `C` and `K` are multiples of 8; what has fewer channels is filled up with zeros.
#[derive(Debug)]
pub struct Conv2dImplicitGemm {
    entry: CudaFunction,
    variant: &'static ImplicitGemm,
}

impl Conv2dImplicitGemm {
    /// Variants that a device of `capability` (`10 * major + minor`) has.
    pub fn variants(capability: u32, arithmetic: Arithmetic) -> impl Iterator<Item = &'static ImplicitGemm> {
        IMPLICIT_GEMM.iter().filter(move |variant| variant.suits(capability) && variant.arithmetic == arithmetic)
    }

    /// Loads one of the device's [`variants`](Self::variants).
    ///
    /// # Errors
    /// [`CudaError`] if the kernel cannot be loaded.
    pub fn new(modules: &Modules, variant: &'static ImplicitGemm) -> Result<Self, CudaError> {
        let name = variant.name();
        Ok(Self { entry: modules.function(&name, &name, variant.shared_bytes())?, variant })
    }

    /// What it was loaded as.
    pub fn variant(&self) -> &'static ImplicitGemm {
        self.variant
    }

    /// The kernel's name and tile.
    pub fn name(&self) -> String {
        self.variant.name()
    }

    /// Why this kernel cannot run `problem`, or `Ok`. Touches no device.
    ///
    /// # Errors
    /// [`Unsupported`] with the reason.
    pub fn can_run(&self, problem: impl Into<Conv2dProblem>) -> Result<(), Unsupported> {
        can_run(self.variant, &problem.into())
    }

    /// Grid, block, shared memory: the only place they are computed.
    fn config(&self, shape: &Conv2dShape, splits: u32) -> LaunchConfig {
        let tile = &self.variant.tile;
        let (x, y, _) = grid(shape, tile.bm, tile.bn);
        LaunchConfig {
            grid_dim: (x, y, splits),
            block_dim: (tile.threads(), 1, 1),
            shared_mem_bytes: self.variant.shared_bytes(),
        }
    }

    /// Enqueues `y = epilogue(conv2d(x, w))`; returns before it has run.
    ///
    /// # Errors
    /// [`CudaError`] if the elements, the shape, a length or an address do not fit, or the driver refuses the launch.
    pub fn launch<'q, T: Element>(&self, queue: impl Into<Queue<'q>>, args: Conv2dArgs<'_, T>) -> Result<(), CudaError> {
        self.enqueue(queue.into(), args, 1, None)
    }

    /// What [`launch_split`](Self::launch_split) needs for `splits` parts.
    pub fn workspace(&self, shape: &Conv2dShape, splits: u32) -> WorkspaceSize {
        workspace_size(self.variant, shape, splits)
    }

    /// As [`launch`](Self::launch), with `splits` blocks for each tile of outputs, which share its depth. Their sums are added in the
    /// order of the parts: results are the same bit for bit, whichever block is last.
    ///
    /// # Errors
    /// As [`launch`](Self::launch); [`CudaError::Length`] if the workspace is too small.
    pub fn launch_split<'q, T: Element>(
        &self,
        queue: impl Into<Queue<'q>>,
        args: Conv2dArgs<'_, T>,
        splits: u32,
        workspace: &mut Workspace<'_>,
    ) -> Result<(), CudaError> {
        self.enqueue(queue.into(), args, splits, Some(workspace))
    }

    fn enqueue<T: Element>(
        &self,
        queue: Queue<'_>,
        args: Conv2dArgs<'_, T>,
        splits: u32,
        workspace: Option<&mut Workspace<'_>>,
    ) -> Result<(), CudaError> {
        self.can_run(args.problem())?;
        let (kernel, config) = (self.variant.form(), self.config(args.shape, splits));
        if T::NAME != self.variant.arithmetic.element() {
            return Err(Unsupported { kernel, reason: format!("it was given elements of {}", T::NAME) }.into());
        }
        if !(1..=GRID_Y as u32).contains(&splits) {
            return Err(Unsupported { kernel, reason: format!("{splits} parts, expected 1 to {GRID_Y}") }.into());
        }
        let (mut partials, mut counters) = (0, 0);
        if splits > 1
            && let Some(workspace) = workspace
        {
            let needed = self.workspace(args.shape, splits);
            let enough = |span: usize, needed: usize| span.min(needed); // a workspace serves smaller problems, too
            let found = (workspace.partials.address(), enough(workspace.partials.len(), needed.partials));
            span::check(kernel, "partials", found, needed.partials, 16)?;
            let found = (workspace.counters.address(), enough(workspace.counters.len(), needed.counters));
            span::check(kernel, "counters", found, needed.counters, 4)?;
            (partials, counters) = (workspace.partials.address(), workspace.counters.address());
        }
        let Operands { x, w, bias, residual, projection, y, params, relu } = Operands::check(kernel, &args, 16)?;
        let (bias, residual, relu) = (bias.unwrap_or(0), residual.unwrap_or(0), i32::from(relu));
        let mut call = queue.call(&self.entry);
        call.arg(&x).arg(&w).arg(&bias);
        match &projection {
            Some((x, w, sizes)) => call.arg(x).arg(w).arg(&y).arg(&params).arg(sizes),
            None => call.arg(&residual).arg(&y).arg(&params).arg(&relu),
        };
        call.arg(&partials).arg(&counters);
        // SAFETY: order and types are those of the entries in kernels/conv2d_implicit_gemm.cuh, of which `can_run` lets those with a
        // projection have one, and no others; an absent bias or residual is null there, and the workspace unless there are several
        // parts. Lengths were checked above against the shape that the kernel
        // counts by, addresses for the alignment that it asks for; it writes only `y` and the workspace, borrowed mutably.
        #[allow(unsafe_code)]
        unsafe { call.launch(config) }.map_err(|source| CudaError::Launch { kernel, source })?;
        Ok(())
    }
}

/// What `splits` parts of each tile need.
pub(super) fn workspace_size(variant: &ImplicitGemm, shape: &Conv2dShape, splits: u32) -> WorkspaceSize {
    if splits == 1 {
        return WorkspaceSize::default();
    }
    let (x, y, _) = grid(shape, variant.tile.bm, variant.tile.bn);
    let tiles = x as usize * y as usize;
    WorkspaceSize { partials: tiles * splits as usize * variant.tile.sums() as usize, counters: tiles }
}

/// Why `variant` cannot run `problem`, or `Ok`.
pub(super) fn can_run(variant: &ImplicitGemm, problem: &Conv2dProblem) -> Result<(), Unsupported> {
    let refuse = |reason| Err(Unsupported { kernel: variant.form(), reason });
    let ImplicitGemm { tile, whole_taps, projects, .. } = variant;
    let shape = &problem.shape;
    if *projects != problem.projection.is_some() {
        let (found, expected) = if *projects { ("no ", "one") } else { ("a ", "none") };
        return refuse(format!("{found}shortcut that is a convolution, expected {expected}"));
    }
    problem.check_projection().or_else(refuse)?;
    let c = if *whole_taps { tile.bk as usize } else { 8 };
    let c0 = problem.projection.map(|projection| ("C0", projection.c(), c));
    for (letter, value, multiple) in [("C", shape.c(), c), ("K", shape.k(), 8)].into_iter().chain(c0) {
        if value % multiple != 0 {
            return refuse(format!("{letter} = {value} is no multiple of {multiple}"));
        }
    }
    if *whole_taps && shape.r() * shape.s() > MASK_BITS {
        return refuse(format!("R*S = {} is more than {MASK_BITS}", shape.r() * shape.s()));
    }
    if shape.gemm_n().div_ceil(tile.bn as usize) > GRID_Y {
        return refuse(format!("K = {} asks for more than {GRID_Y} tiles of {} columns", shape.k(), tile.bn));
    }
    let projection = problem.projection.as_ref().map_or(Ok(()), |projection| ProjectionParams::new(projection).map(drop));
    Conv2dParams::new(shape).and(projection).or_else(|size| refuse(format!("{size} is beyond 2^31 - 1")))
}

/// Taps that the kernel's masks have bits for.
const MASK_BITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Window;

    fn reason(variant: &ImplicitGemm, c: usize, k: usize, size: (usize, usize)) -> Result<(), String> {
        let shape = Conv2dShape::new([1, 19, 19, c], k, Window { size, stride: 1, pad: 1 }).unwrap();
        let projection = variant
            .projects
            .then(|| Conv2dShape::new([1, shape.p(), shape.q(), c], k, Window { size: (1, 1), stride: 1, pad: 0 }).unwrap());
        can_run(variant, &Conv2dProblem { shape, projection }).map_err(|refused| refused.to_string())
    }

    #[test]
    fn shortcuts_are_for_those_that_project() {
        for variant in IMPLICIT_GEMM {
            let (name, c) = (variant.form(), 64);
            let shape =
                |image, size| Conv2dShape::new(image, 8, Window { size: (size, size), stride: 1, pad: size / 2 }).unwrap();
            let (shape, shortcut) = (shape([1, 9, 9, c], 3), |c0| Some(shape([1, 9, 9, c0], 1)));
            let reason =
                |projection| can_run(variant, &Conv2dProblem { shape, projection }).map_err(|refused| refused.to_string());
            if variant.projects {
                assert_eq!(reason(shortcut(128)), Ok(()));
                assert_eq!(reason(None), Err(format!("{name}: no shortcut that is a convolution, expected one")));
                let refused = format!("{name}: C0 = 72 is no multiple of {}", variant.tile.bk);
                assert_eq!(reason(shortcut(72)), Err(refused));
                let smaller = Conv2dShape::new([1, 9, 9, 64], 8, Window { size: (1, 1), stride: 2, pad: 0 }).unwrap();
                assert!(reason(Some(smaller)).unwrap_err().contains("a shortcut to [1, 5, 5, 8], expected [1, 9, 9, 8]"));
            } else {
                assert_eq!(reason(None), Ok(()));
                assert_eq!(reason(shortcut(128)), Err(format!("{name}: a shortcut that is a convolution, expected none")));
            }
        }
    }

    #[test]
    fn odd_channels_are_refused() {
        for variant in IMPLICIT_GEMM.iter().filter(|variant| !variant.whole_taps) {
            let name = variant.form();
            assert_eq!(reason(variant, 8, 16, (7, 7)), Ok(()));
            assert_eq!(reason(variant, 3, 16, (3, 3)), Err(format!("{name}: C = 3 is no multiple of 8")));
            assert_eq!(reason(variant, 8, 20, (3, 3)), Err(format!("{name}: K = 20 is no multiple of 8")));
            assert!(reason(variant, 8, 64 * 65_536, (3, 3)).unwrap_err().contains("65535 tiles"));
        }
    }

    #[test]
    fn steps_within_one_tap_are_asked_for() {
        for variant in IMPLICIT_GEMM.iter().filter(|variant| variant.whole_taps) {
            let (name, bk) = (variant.form(), variant.tile.bk as usize);
            assert_eq!(reason(variant, 3 * bk, 8, (4, 8)), Ok(()));
            let refused = format!("{name}: C = {} is no multiple of {bk}", bk + 8);
            assert_eq!(reason(variant, bk + 8, 8, (3, 3)), Err(refused));
            assert_eq!(reason(variant, bk, 8, (3, 11)), Err(format!("{name}: R*S = 33 is more than 32")));
        }
    }

    #[test]
    fn variants_fit_their_devices() {
        for variant in IMPLICIT_GEMM {
            // The most shared memory of a block: 64 KiB on 7.5, 99 KiB on the smallest later ones.
            let most = if variant.suits(75) { 64 << 10 } else { 99 << 10 };
            assert!(variant.shared_bytes() <= most, "{variant:?}");
            assert!(variant.tile.threads() <= 1024, "{variant:?}");
            assert!(variant.tile.bk <= 64, "{variant:?}: f16 sums over more than 64 products");
        }
        for capability in [75, 80, 86, 89, 90, 120] {
            for form in [(false, false), (true, false), (true, true)] {
                for arithmetic in [Arithmetic::F16, Arithmetic::F16Sums, Arithmetic::Bf16] {
                    let mut variants = Conv2dImplicitGemm::variants(capability, arithmetic);
                    let some = variants.any(|variant| (variant.whole_taps, variant.projects) == form);
                    let wanted = capability >= 80 || arithmetic != Arithmetic::Bf16;
                    assert_eq!(some, wanted, "capability {capability}, {arithmetic:?}, whole taps and projection {form:?}");
                }
            }
        }
    }
}
