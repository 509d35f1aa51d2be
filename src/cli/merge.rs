//! `camshaft merge`.

use std::process::ExitCode;

use camshaft::output::{Merged, create_folder, merge};

use super::args::MergeArgs;
use super::run::exit_code;
use super::{Usage, stderr, stdout};

/// Puts the manifests of parts together.
pub fn run(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    let out = match (&args.out, &args.parts[..]) {
        (Some(out), _) => out,
        (None, [one]) if one.is_dir() => one,
        (None, _) => return Err(Usage("--out: name the folder for the merged manifest".to_owned()).into()),
    };
    create_folder(out)?;
    let Merged { path, parts, images, failed } = merge(&args.parts, out, args.force)?;
    stderr::line(format_args!("{images} images in {parts} parts"));
    stdout::unless_closed(stdout::line(&path.display().to_string()))?;
    Ok(exit_code(failed, images))
}
