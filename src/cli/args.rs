//! The command line.

use std::path::PathBuf;

use camshaft::cam::{Levels, Method, Normalisation};
use camshaft::output::Artifact;
use camshaft::render::{Alpha, Colormap, View};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use super::boxes::BoxOptions;
use super::evaluate::EvaluateArgs;
use super::inputs::Inputs;
use super::methods::MethodOptions;
use super::options::{InputOptions, ModelOptions};

/// Shows which pixels made a ResNet say "cat": class activation maps (Zhou et al. 2016).
#[derive(Parser)]
#[command(name = "camshaft", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = "Start with `camshaft cam`, which explains a bundled picture with a bundled model.\n\
    Exit code: 0 done, 1 something failed (the rest was finished), 2 wrong usage, 130 interrupted (what was under way was finished).")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Draw class activation maps
    Cam(CamArgs),
    /// Name what is in pictures
    Classify(ClassifyArgs),
    /// Measure how good maps are, method beside method
    Evaluate(EvaluateArgs),
    /// Merge the manifests of a run that was spread with --shard
    Merge(MergeArgs),
    /// Show architecture, layers and devices of a model
    Info(InfoArgs),
    /// Time forward passes and maps beside what the machine could do at best
    Bench(BenchArgs),
    /// Download weights into the cache
    Fetch(FetchArgs),
    /// List or search class names
    Labels(LabelsArgs),
    /// Print a shell's completion script
    Completions(CompletionsArgs),
    /// Print the manual page, or write all pages into a folder
    Man(ManArgs),
}

const CAM_EXAMPLES: &str = "Examples:
  camshaft cam                                a bundled picture, to see how it goes
  camshaft cam photo.jpg                      the three most probable classes
  camshaft cam photo.jpg -c dog -c 3          classes of your choice, by name or index
  camshaft cam photos 'more/*.png' -o maps    all pictures of a folder and of a pattern
  camshaft cam photo.jpg -c 'dog - lion'      what makes it a dog rather than a lion
  camshaft cam photo.jpg --compare all        every method side by side in one picture
  camshaft cam photo.jpg --boxes --draw-boxes boxes round what each map marks
  camshaft cam photos -o maps --resume        the rest of them, after an interruption
  camshaft cam photo.jpg -w resnet50 --view original";

#[derive(Args)]
#[command(after_help = CAM_EXAMPLES)]
pub struct CamArgs {
    #[command(flatten)]
    pub inputs: Inputs,
    /// Class to explain, by index or name (see `camshaft labels`); may be repeated. Default: the top predictions.
    ///
    /// Several classes can be weighed against each other, with a space on both sides of each sign: 'tabby - beagle' asks what makes
    /// it the one rather than the other, 'tabby + 285' what speaks for either; --class=-tabby asks what speaks against it. A class's
    /// whole name is that class, whatever signs it holds.
    #[arg(short, long = "class", value_name = "CLASS", conflicts_with = "top")]
    pub classes: Vec<String>,
    /// Explain the K most probable classes
    #[arg(short = 'k', long, value_name = "K", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub top: u32,
    /// Folder for the results, made if it is not there; with --shard, a folder in it
    #[arg(short, long, value_name = "FOLDER", default_value = "camshaft-out")]
    pub out: PathBuf,
    /// Replace results of an earlier run
    #[arg(short, long)]
    pub force: bool,
    /// Go on with an earlier run that was interrupted or had failures: skip what its manifest says is done
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// What to write for each class: pictures, and the raw map as the network gave it or up-sampled, for numpy
    #[arg(long, value_name = "KIND", value_delimiter = ',', default_value = "overlay,heatmap,cam,cam-full", value_parser = artifact())]
    pub save: Vec<Artifact>,
    /// What to draw on: the pixels that the network saw, the whole original, or (seed, for comparison with other tools only) the
    /// original squashed to a square
    #[arg(long, default_value_t, value_parser = choice(View::ALL, View::name))]
    pub view: View,
    /// Colours of the heat map. Default: jet
    #[arg(long, value_parser = choice(Colormap::ALL, Colormap::name))]
    pub colormap: Option<Colormap>,
    /// Opacity of the heat map, 0 to 1. Default: 0.5
    #[arg(long)]
    pub alpha: Option<Alpha>,
    /// How map values become colours. Default: minmax for the class activation map, relu-minmax for the other methods
    #[arg(long, conflicts_with = "compat", value_parser = choice(Normalisation::ALL, Normalisation::name))]
    pub normalise: Option<Normalisation>,
    /// Draw a contact sheet of each image as well, as --compare always does: what the network saw, then its maps side by side
    #[arg(long)]
    pub grid: bool,
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub methods: MethodOptions,
    #[command(flatten)]
    pub boxes: BoxOptions,
    #[command(flatten)]
    pub input: InputOptions,
    #[command(flatten)]
    pub model: ModelOptions,
}

#[derive(Args)]
pub struct ClassifyArgs {
    #[command(flatten)]
    pub inputs: Inputs,
    /// Show the K most probable classes
    #[arg(short = 'k', long, value_name = "K", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub top: u32,
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub input: InputOptions,
    #[command(flatten)]
    pub model: ModelOptions,
}

#[derive(Args)]
pub struct MergeArgs {
    /// Folder with the folders of all parts; or several folders or manifests
    #[arg(required = true, value_name = "FOLDER")]
    pub parts: Vec<PathBuf>,
    /// Folder for the merged manifest. Default: the only FOLDER
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Replace the manifest of an earlier run
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Args)]
pub struct InfoArgs {
    /// Image size for shapes and costs: one side, or HxW
    #[arg(long, default_value = "224", value_parser = super::options::extent)]
    pub size: (usize, usize),
    /// Images per forward pass, for shapes and costs
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub images: u32,
    /// Show what runs each step of a pass
    #[arg(long)]
    pub plan: bool,
    /// Methods of the maps in a plan, with commas between them. Default: cam
    #[arg(short, long = "method", value_name = "METHOD", value_delimiter = ',', value_parser = choice(Method::ALL, Method::name))]
    pub methods: Vec<Method>,
    /// Leave out the layers
    #[arg(long)]
    pub brief: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelOptions,
}

/// What `bench` makes of maps.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum MapLevels {
    Raw,
    F32,
    F16,
    U8,
}

impl MapLevels {
    /// The library's choice; `None` for maps that stay as small as they are.
    pub fn levels(self) -> Option<Levels> {
        match self {
            Self::Raw => None,
            Self::F32 => Some(Levels::F32),
            Self::F16 => Some(Levels::F16),
            Self::U8 => Some(Levels::U8),
        }
    }

    /// The spelling on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U8 => "u8",
        }
    }
}

const BENCH_EXAMPLES: &str = "Examples:
  camshaft bench -w resnet18                       batches of 1 and 8 on the cpu, of 1 to 128 on a GPU
  camshaft bench -w resnet18 --batch 1 --layers    each layer beside its floor
  camshaft bench -w resnet18 --batch 32 --json     one JSON object a batch size";

#[derive(Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub struct BenchArgs {
    /// Images per pass; several make several rows. Default: 1,8 on the cpu; 1,8,32,128 on a GPU
    #[arg(short, long, value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: Vec<u32>,
    /// Image size: one side, or HxW
    #[arg(long, default_value = "224", value_parser = super::options::extent)]
    pub size: (usize, usize),
    /// Passes that count
    #[arg(long, default_value = "30", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub iters: u32,
    /// Passes before them
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub warm_up: u32,
    /// Maps of each image, those of the most probable classes
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub maps: u32,
    /// What maps at the size of the image are stored as; raw: only those at the size of the last layer
    #[arg(long, default_value = "f32")]
    pub levels: MapLevels,
    /// Run nothing: print what a model of GPUs says of some that are known
    #[arg(long, conflicts_with_all = ["iters", "warm_up", "layers", "maps", "levels"])]
    pub forecast: bool,
    /// Time each layer with --json too, as tables always do
    #[arg(long)]
    pub layers: bool,
    /// Print one JSON object for each batch size, on a line, instead of tables
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelOptions,
}

#[derive(Args)]
pub struct FetchArgs {
    /// resnet18, resnet34, resnet50 or hf:owner/name[@revision]; several may be given
    #[arg(required = true, value_name = "WEIGHTS")]
    pub sources: Vec<camshaft::sources::Source>,
}

#[derive(Args)]
pub struct LabelsArgs {
    /// Part of a name, or an index; without it, all names
    pub query: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelOptions,
}

#[derive(Args)]
pub struct CompletionsArgs {
    /// Whose script
    pub shell: clap_complete::Shell,
}

#[derive(Args)]
pub struct ManArgs {
    /// Folder for one page per command, made if it is not there; without it, the main page goes to stdout
    pub folder: Option<PathBuf>,
}

/// Kinds for `--save`.
const ARTIFACTS: [Artifact; 4] = [Artifact::Overlay, Artifact::Heatmap, Artifact::Cam, Artifact::CamFull];

fn artifact() -> impl TypedValueParser<Value = Artifact> {
    PossibleValuesParser::new(ARTIFACTS.map(Artifact::name))
        .try_map(|given| ARTIFACTS.into_iter().find(|kind| kind.name() == given).ok_or("no such kind"))
}

/// A parser for one of the library's choices, which shows them in help and completions.
pub fn choice<T: Copy + Send + Sync + std::str::FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|&one| name(one))).try_map(|given| given.parse::<T>())
}
