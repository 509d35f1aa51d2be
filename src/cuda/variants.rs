//! Every compilation unit of the kernels, with its tile numbers: `build.rs` compiles this table (the numbers become `-D`
//! options), the launchers compute their grids from it, so that the two cannot drift apart.
//!
//! No dependency on the rest of the crate: the build script includes this file.

/// One run of the compiler: a file of `kernels/`, its `-D` options, and the devices it is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Name of the unit, unique in the table: the file's stem, and the variant's suffix where there are several.
    pub name: String,
    /// Source file's stem in `kernels/`.
    pub stem: &'static str,
    /// Macros.
    pub defines: Vec<(&'static str, u32)>,
    /// Compute capabilities that the unit is compiled for, as `10 * major + minor`, both ends included.
    pub capabilities: (u32, u32),
}

/// Every device that is supported.
const ALL: (u32, u32) = (75, u32::MAX);

/// Threads of a block of `maxpool2d_nhwc`.
pub const MAXPOOL2D_THREADS: u32 = 256;
/// Packs of 16 bytes that a block of `global_avg_pool_nhwc` reads side by side: a whole 128-byte line.
pub const GLOBAL_AVG_POOL_CHUNKS: u32 = 8;
/// Positions that it reads at a time.
pub const GLOBAL_AVG_POOL_ROWS: u32 = 32;
/// Warps of a block of `softmax_topk`.
pub const SOFTMAX_TOPK_WARPS: u32 = 8;
/// Pixels `(columns, rows)` of a block of `preprocess` that filters down, and threads of either.
pub const PREPROCESS_TILE: (u32, u32) = (32, 8);
/// Rows of a block that filters across.
pub const PREPROCESS_ROWS: u32 = 32;
/// Pixels that it reads at a time: its runs of weights begin and end at multiples.
pub const PREPROCESS_GROUP: u32 = 4;
/// Threads of a block of `mask_image`.
pub const MASK_IMAGE_THREADS: u32 = 256;
/// Columns of the output that a tile of `stem` has.
pub const STEM_TILE_COLUMNS: u32 = 30;
/// Warps of a block of `cam_upsample`.
pub const CAM_UPSAMPLE_WARPS: u32 = 8;
/// Warps of a block of `cam_rows` and `cam_eigen`.
pub const CAM_WARPS: u32 = 8;

/// Kernels without variants, with their numbers.
const PLAIN: &[(&str, &[(&str, u32)])] = &[
    ("maxpool2d_nhwc", &[("THREADS", MAXPOOL2D_THREADS)]),
    ("global_avg_pool_nhwc", &[("CHUNKS", GLOBAL_AVG_POOL_CHUNKS), ("ROWS", GLOBAL_AVG_POOL_ROWS)]),
    ("softmax_topk", &[("WARPS", SOFTMAX_TOPK_WARPS)]),
    (
        "preprocess",
        &[("TILE_W", PREPROCESS_TILE.0), ("TILE_H", PREPROCESS_TILE.1), ("ROWS", PREPROCESS_ROWS), ("GROUP", PREPROCESS_GROUP)],
    ),
    ("mask_image", &[("THREADS", MASK_IMAGE_THREADS)]),
    ("stem", &[("TILE_COLUMNS", STEM_TILE_COLUMNS)]),
];

/// What a block of `linear` computes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearTile {
    /// Warps of a block.
    pub warps: u32,
    /// Outputs of one warp.
    pub outputs: u32,
    /// Images that share one read of a weight.
    pub images: u32,
}

impl LinearTile {
    /// Name of the unit.
    pub fn unit(&self) -> String {
        format!("linear_{}x{}", self.outputs, self.images)
    }
}

/// Tiles of `linear`, fewest images first.
pub const LINEAR: &[LinearTile] =
    &[LinearTile { warps: 8, outputs: 4, images: 1 }, LinearTile { warps: 8, outputs: 4, images: 4 }];

/// Tile of a matrix product: `BM x BN x BK` per block, `WM x WN` per warp, `STAGES` tiles in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows (`gemm_m`) per block.
    pub bm: u32,
    /// Columns (`gemm_n`) per block.
    pub bn: u32,
    /// Depth (`gemm_k`) of a step of the main loop.
    pub bk: u32,
    /// Rows per warp.
    pub wm: u32,
    /// Columns per warp.
    pub wn: u32,
    /// Tiles in flight, the one in use included.
    pub stages: u32,
}

impl Tile {
    /// Warps per block. Where their areas do not fit a whole number of times, the last lies over the end of the one before.
    pub const fn warps(&self) -> u32 {
        self.bm.div_ceil(self.wm) * self.bn.div_ceil(self.wn)
    }

    /// Threads per block.
    pub const fn threads(&self) -> u32 {
        self.warps() * 32
    }

    /// Sums that a block's warps compute, those of two warps counted twice.
    pub const fn sums(&self) -> u32 {
        self.warps() * self.wm * self.wn
    }

    /// Shared memory of a block for elements of `bytes` bytes.
    pub const fn shared_bytes(&self, bytes: u32) -> u32 {
        self.stages * (self.bm + self.bn) * self.bk * bytes
    }

    /// How the tile appears in the names of units and kernels: `128x64x32`.
    pub fn suffix(&self) -> String {
        format!("{}x{}x{}", self.bm, self.bn, self.bk)
    }

    fn defines(&self) -> Vec<(&'static str, u32)> {
        vec![("BM", self.bm), ("BN", self.bn), ("BK", self.bk), ("WM", self.wm), ("WN", self.wn), ("STAGES", self.stages)]
    }
}

/// What the tensor-core convolution computes with, in the order of the numbers in kernels/conv2d_implicit_gemm.cuh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Elements f16, sums f32.
    F16,
    /// Elements f16, sums f16 over the depth of a tile, f32 beyond it.
    F16Sums,
    /// Elements bf16, sums f32.
    Bf16,
}

impl Arithmetic {
    /// How kernels' names spell the elements.
    pub const fn element(self) -> &'static str {
        match self {
            Self::F16 | Self::F16Sums => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// One compilation unit of the tensor-core convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImplicitGemm {
    /// What a block computes.
    pub tile: Tile,
    /// Whether a step of the main loop lies within one filter tap: `C` is a multiple of `BK`, and there are at most 32 taps.
    /// Otherwise `C` is any multiple of 8, at about three times the instructions.
    pub whole_taps: bool,
    /// Whether it adds the products of a residual block's shortcut, a 1x1 convolution, to the same sums. Only with whole taps.
    pub projects: bool,
    /// What it computes with.
    pub arithmetic: Arithmetic,
    /// As [`Unit::capabilities`].
    pub capabilities: (u32, u32),
}

impl ImplicitGemm {
    /// Source file's stem.
    pub const fn stem(&self) -> &'static str {
        if self.capabilities.1 < 80 { "conv2d_implicit_gemm_sm75_f16_nhwc" } else { "conv2d_implicit_gemm_f16_nhwc" }
    }

    /// Name of the kernel without its tile.
    pub const fn form(&self) -> &'static str {
        match (self.capabilities.1 < 80, self.whole_taps, self.arithmetic) {
            (true, _, Arithmetic::F16Sums) if self.projects => "conv2d_implicit_gemm_sm75_projection_f16_sums_nhwc",
            (true, ..) if self.projects => "conv2d_implicit_gemm_sm75_projection_f16_nhwc",
            (false, _, Arithmetic::F16) if self.projects => "conv2d_implicit_gemm_projection_f16_nhwc",
            (false, _, Arithmetic::F16Sums) if self.projects => "conv2d_implicit_gemm_projection_f16_sums_nhwc",
            (false, _, Arithmetic::Bf16) if self.projects => "conv2d_implicit_gemm_projection_bf16_nhwc",
            (true, true, Arithmetic::F16Sums) => "conv2d_implicit_gemm_sm75_f16_sums_nhwc",
            (true, false, Arithmetic::F16Sums) => "conv2d_implicit_gemm_sm75_c8_f16_sums_nhwc",
            (true, true, _) => "conv2d_implicit_gemm_sm75_f16_nhwc",
            (true, false, _) => "conv2d_implicit_gemm_sm75_c8_f16_nhwc",
            (false, true, Arithmetic::F16) => "conv2d_implicit_gemm_f16_nhwc",
            (false, false, Arithmetic::F16) => "conv2d_implicit_gemm_c8_f16_nhwc",
            (false, true, Arithmetic::F16Sums) => "conv2d_implicit_gemm_f16_sums_nhwc",
            (false, false, Arithmetic::F16Sums) => "conv2d_implicit_gemm_c8_f16_sums_nhwc",
            (false, true, Arithmetic::Bf16) => "conv2d_implicit_gemm_bf16_nhwc",
            (false, false, Arithmetic::Bf16) => "conv2d_implicit_gemm_c8_bf16_nhwc",
        }
    }

    /// Name of the unit, of its entry and of the kernel.
    pub fn name(&self) -> String {
        format!("{}_{}", self.form(), self.tile.suffix())
    }

    /// Shared memory of a block.
    pub const fn shared_bytes(&self) -> u32 {
        self.tile.shared_bytes(2)
    }

    /// Whether devices of `capability` run it.
    pub const fn suits(&self, capability: u32) -> bool {
        self.capabilities.0 <= capability && capability <= self.capabilities.1
    }
}

/// Units of the tensor-core convolution. Which of them a problem gets on a device, `tile_choice.rs` says.
///
/// A warp's tile decides how many bytes of shared memory an instruction of the tensor cores needs: with 64x64 they are never
/// the bound, with 64x32 and 32x32 they are on devices of capability 7.5, 8.0 and 9.0. Blocks of 128x128 and 256x64 are made of
/// four such warps each, the second for 64 filters; two of them fit a multiprocessor. The smaller ones are for problems with too
/// few outputs to fill the device, or that leave much of it idle in their last wave of larger tiles. Of ResNet-18 with 132
/// multiprocessors:
///
/// - layer1 of eight images is 131 tiles of 192x64, layer2 is 132 of 96x64
/// - layer4 of eight images, 392 rows, is 130 blocks of 80x40 in two parts, where larger tiles need six; few rows, as at batch 1, these
///   cut into more blocks, with fewer parts to add up
/// - layer4 of 16 images, 784 rows or 7 times 112, is 126 blocks of 112x88 in three parts. 88 columns are eleven instructions wide,
///   which two warps cannot share equally: some they compute both
/// - layer4 of 24 images is 132 blocks of 112x128 in three parts, of 64 images 132 tiles of 96x128
///
/// With 108, layer4 of eight images is 108 blocks of 48x128 in three parts; with 58, layer2 is 56 tiles of 112x128. The forms with a
/// projection have no 256x64, as no block of a ResNet that has one ends with 64 filters, and nothing of 48x128 and 192x64, by which
/// they would gain next to nothing.
///
/// Sums in f16 take half as many registers again, and pay on devices where shared memory is far from the bound: warps of at most
/// 80x32, where f16 has 64x64. Their steps are as deep as f16 sums may be, for which 80x40 has too few rows a pass.
pub const IMPLICIT_GEMM: &[ImplicitGemm] = &[
    whole_taps(AMPERE, Arithmetic::F16, TILE_80X40),
    whole_taps(AMPERE, Arithmetic::F16, TILE_64X64),
    whole_taps(AMPERE, Arithmetic::F16, TILE_48X128),
    whole_taps(AMPERE, Arithmetic::F16, TILE_96X64),
    whole_taps(AMPERE, Arithmetic::F16, TILE_128X64),
    whole_taps(AMPERE, Arithmetic::F16, TILE_80X128),
    whole_taps(AMPERE, Arithmetic::F16, TILE_112X88),
    whole_taps(AMPERE, Arithmetic::F16, TILE_96X128),
    whole_taps(AMPERE, Arithmetic::F16, TILE_112X128),
    whole_taps(AMPERE, Arithmetic::F16, TILE_192X64),
    whole_taps(AMPERE, Arithmetic::F16, TILE_256X64),
    whole_taps(AMPERE, Arithmetic::F16, TILE_128X128),
    any_channels(AMPERE, Arithmetic::F16, TILE_ANY),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_80X40),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_64X64),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_48X128),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_96X64),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_128X64),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_80X128),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_112X88),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_96X128),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_112X128),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_192X64),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_256X64),
    whole_taps(AMPERE, Arithmetic::Bf16, TILE_128X128),
    any_channels(AMPERE, Arithmetic::Bf16, TILE_ANY),
    whole_taps(AMPERE, Arithmetic::F16Sums, TILE_64X64),
    whole_taps(AMPERE, Arithmetic::F16Sums, TILE_48X128),
    whole_taps(AMPERE, Arithmetic::F16Sums, SUMS_96X64),
    whole_taps(AMPERE, Arithmetic::F16Sums, SUMS_128X64),
    whole_taps(AMPERE, Arithmetic::F16Sums, TILE_80X128),
    whole_taps(AMPERE, Arithmetic::F16Sums, SUMS_192X64),
    whole_taps(AMPERE, Arithmetic::F16Sums, SUMS_128X128),
    any_channels(AMPERE, Arithmetic::F16Sums, TILE_ANY),
    whole_taps(TURING, Arithmetic::F16, TURING_64X64),
    whole_taps(TURING, Arithmetic::F16, TURING_128X64),
    whole_taps(TURING, Arithmetic::F16, TURING_128X128),
    any_channels(TURING, Arithmetic::F16, TURING_64X64),
    whole_taps(TURING, Arithmetic::F16Sums, TURING_64X64),
    whole_taps(TURING, Arithmetic::F16Sums, TURING_SUMS_128X128),
    any_channels(TURING, Arithmetic::F16Sums, TURING_64X64),
    projection(AMPERE, Arithmetic::F16, TILE_80X40),
    projection(AMPERE, Arithmetic::F16, TILE_64X64),
    projection(AMPERE, Arithmetic::F16, TILE_96X64),
    projection(AMPERE, Arithmetic::F16, TILE_128X64),
    projection(AMPERE, Arithmetic::F16, TILE_80X128),
    projection(AMPERE, Arithmetic::F16, TILE_112X88),
    projection(AMPERE, Arithmetic::F16, TILE_96X128),
    projection(AMPERE, Arithmetic::F16, TILE_112X128),
    projection(AMPERE, Arithmetic::F16, TILE_128X128),
    projection(AMPERE, Arithmetic::Bf16, TILE_80X40),
    projection(AMPERE, Arithmetic::Bf16, TILE_64X64),
    projection(AMPERE, Arithmetic::Bf16, TILE_96X64),
    projection(AMPERE, Arithmetic::Bf16, TILE_128X64),
    projection(AMPERE, Arithmetic::Bf16, TILE_80X128),
    projection(AMPERE, Arithmetic::Bf16, TILE_112X88),
    projection(AMPERE, Arithmetic::Bf16, TILE_96X128),
    projection(AMPERE, Arithmetic::Bf16, TILE_112X128),
    projection(AMPERE, Arithmetic::Bf16, TILE_128X128),
    projection(AMPERE, Arithmetic::F16Sums, TILE_64X64),
    projection(AMPERE, Arithmetic::F16Sums, TILE_48X128),
    projection(AMPERE, Arithmetic::F16Sums, SUMS_96X64),
    projection(AMPERE, Arithmetic::F16Sums, SUMS_128X64),
    projection(AMPERE, Arithmetic::F16Sums, TILE_80X128),
    projection(AMPERE, Arithmetic::F16Sums, SUMS_192X64),
    projection(AMPERE, Arithmetic::F16Sums, SUMS_128X128),
    projection(TURING, Arithmetic::F16, TURING_64X64),
    projection(TURING, Arithmetic::F16, TURING_128X64),
    projection(TURING, Arithmetic::F16, TURING_128X128),
    projection(TURING, Arithmetic::F16Sums, TURING_64X64),
    projection(TURING, Arithmetic::F16Sums, TURING_SUMS_128X128),
];

const TILE_64X64: Tile = Tile { bm: 64, bn: 64, bk: 64, wm: 32, wn: 32, stages: 4 };
const TILE_80X40: Tile = Tile { bm: 80, bn: 40, bk: 32, wm: 16, wn: 40, stages: 6 };
const TILE_48X128: Tile = Tile { bm: 48, bn: 128, bk: 64, wm: 48, wn: 32, stages: 4 };
const TILE_96X64: Tile = Tile { bm: 96, bn: 64, bk: 32, wm: 48, wn: 32, stages: 4 };
const TILE_80X128: Tile = Tile { bm: 80, bn: 128, bk: 64, wm: 80, wn: 32, stages: 3 };
const TILE_192X64: Tile = Tile { bm: 192, bn: 64, bk: 32, wm: 48, wn: 64, stages: 4 };
const TILE_112X88: Tile = Tile { bm: 112, bn: 88, bk: 64, wm: 64, wn: 48, stages: 3 };
const TILE_96X128: Tile = Tile { bm: 96, bn: 128, bk: 32, wm: 48, wn: 64, stages: 4 };
const TILE_112X128: Tile = Tile { bm: 112, bn: 128, bk: 64, wm: 112, wn: 32, stages: 3 };
const TILE_128X64: Tile = Tile { bm: 128, bn: 64, bk: 32, wm: 64, wn: 32, stages: 4 };
const TILE_256X64: Tile = Tile { bm: 256, bn: 64, bk: 32, wm: 64, wn: 64, stages: 4 };
const TILE_128X128: Tile = Tile { bm: 128, bn: 128, bk: 32, wm: 64, wn: 64, stages: 4 };
const TILE_ANY: Tile = Tile { bm: 64, bn: 64, bk: 32, wm: 32, wn: 32, stages: 3 };
const SUMS_96X64: Tile = Tile { bm: 96, bn: 64, bk: 64, wm: 48, wn: 32, stages: 3 };
const SUMS_192X64: Tile = Tile { bm: 192, bn: 64, bk: 64, wm: 48, wn: 32, stages: 3 };
const SUMS_128X64: Tile = Tile { bm: 128, bn: 64, bk: 64, wm: 32, wn: 32, stages: 3 };
const SUMS_128X128: Tile = Tile { bm: 128, bn: 128, bk: 64, wm: 64, wn: 32, stages: 3 };
const TURING_64X64: Tile = Tile { bm: 64, bn: 64, bk: 32, wm: 32, wn: 32, stages: 2 };
const TURING_128X64: Tile = Tile { bm: 128, bn: 64, bk: 32, wm: 64, wn: 32, stages: 2 };
const TURING_128X128: Tile = Tile { bm: 128, bn: 128, bk: 32, wm: 64, wn: 64, stages: 2 };
const TURING_SUMS_128X128: Tile = Tile { bm: 128, bn: 128, bk: 32, wm: 64, wn: 32, stages: 2 };

/// Devices without and with asynchronous copies.
const TURING: (u32, u32) = (75, 79);
const AMPERE: (u32, u32) = (80, u32::MAX);

const fn whole_taps(capabilities: (u32, u32), arithmetic: Arithmetic, tile: Tile) -> ImplicitGemm {
    ImplicitGemm { tile, whole_taps: true, projects: false, arithmetic, capabilities }
}

const fn projection(capabilities: (u32, u32), arithmetic: Arithmetic, tile: Tile) -> ImplicitGemm {
    ImplicitGemm { projects: true, ..whole_taps(capabilities, arithmetic, tile) }
}

const fn any_channels(capabilities: (u32, u32), arithmetic: Arithmetic, tile: Tile) -> ImplicitGemm {
    ImplicitGemm { tile, whole_taps: false, projects: false, arithmetic, capabilities }
}

/// Tile of `conv2d_direct_f32_nhwc`: a thread computes 8x8 outputs; two tiles in flight, one of them in registers.
/// Eight elements of a row are a sector, and two lanes load them.
pub const DIRECT: Tile = Tile { bm: 64, bn: 64, bk: 8, wm: 32, wn: 64, stages: 2 };

/// Channels that `conv2d_direct_f32_nhwc` and `batch_norm_nhwc` move at a time.
pub const VECTOR: u32 = 4;

/// The table.
pub fn units() -> Vec<Unit> {
    let mut units: Vec<_> = PLAIN
        .iter()
        .map(|&(stem, defines)| Unit { name: stem.into(), stem, defines: defines.into(), capabilities: ALL })
        .collect();
    units.extend(LINEAR.iter().map(|tile| Unit {
        name: tile.unit(),
        stem: "linear",
        defines: vec![("WARPS", tile.warps), ("OUTPUTS", tile.outputs), ("IMAGES", tile.images)],
        capabilities: ALL,
    }));
    let elements = [("f32", ALL), ("f16", ALL), ("bf16", AMPERE)];
    for (stem, warps) in [("cam_upsample", CAM_UPSAMPLE_WARPS), ("cam_rows", CAM_WARPS), ("cam_eigen", CAM_WARPS)] {
        units.extend(elements.into_iter().zip(0..).map(|((element, capabilities), number)| Unit {
            name: format!("{stem}_{element}"),
            stem,
            defines: vec![("WARPS", warps), ("ELEMENT", number)],
            capabilities,
        }));
    }
    units.extend(IMPLICIT_GEMM.iter().map(|unit| {
        let mut defines = unit.tile.defines();
        // Their numbers are those of kernels/conv2d_implicit_gemm.cuh.
        defines.extend([("WHOLE_TAPS", unit.whole_taps.into()), ("PROJECTION", unit.projects.into())]);
        defines.push(("ARITHMETIC", unit.arithmetic as u32));
        Unit { name: unit.name(), stem: unit.stem(), defines, capabilities: unit.capabilities }
    }));
    for (stem, mut defines) in [("conv2d_direct_f32_nhwc", DIRECT.defines()), ("batch_norm_nhwc", vec![])] {
        defines.push(("VECTOR", VECTOR));
        units.push(Unit { name: format!("{stem}_v{VECTOR}"), stem, defines, capabilities: ALL });
    }
    units
}
