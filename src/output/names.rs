//! Names of output files: safe on every system, and no two inputs share one.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::cam::{Method, Target};

/// Longest first part of a file's name. With the class and the kind a name stays below 143 bytes, the least limit in common use
/// (eCryptfs; others allow 255).
const STEM: usize = 80;
const PARENT: usize = 32;
const CLASS: usize = 40;

/// One kind of output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Artifact {
    /// The photograph under the heat map.
    Overlay,
    /// The heat map alone.
    Heatmap,
    /// The raw map, `h x w` cells as the network gave it.
    Cam,
    /// The raw map up-sampled to the crop.
    CamFull,
}

impl Artifact {
    /// The spelling on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Heatmap => "heatmap",
            Self::Cam => "cam",
            Self::CamFull => "cam-full",
        }
    }

    /// The end of the file's name, without its first dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Overlay => "overlay.png",
            Self::Heatmap => "heatmap.png",
            Self::Cam => "cam.npy",
            Self::CamFull => "cam-full.npy",
        }
    }
}

impl serde::Serialize for Artifact {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The first parts of the output files' names for a run's inputs: one for each, all different, whatever the inputs are called.
#[derive(Clone, Debug)]
pub struct OutputNames(Vec<String>);

impl OutputNames {
    /// Names for `inputs`, in their order. An input's own stem where no other has it; else with its folder in front
    /// (`holiday-cat`, `work-cat`); where that is not enough, with a number behind (`cat-2`) in the order of the inputs.
    /// Stems that differ only in case count as equal, because some file systems cannot hold both.
    pub fn new<P: AsRef<Path>>(inputs: &[P]) -> Self {
        Self::beside(inputs, &vec![None; inputs.len()], [])
    }

    /// As [`OutputNames::new`], where some inputs have a name already: those with `Some` in `given` keep it. No other input gets
    /// one of these, nor one of `taken`.
    pub fn beside<'a, P: AsRef<Path>>(
        inputs: &[P],
        given: &'a [Option<String>],
        taken: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let plain: Vec<String> = inputs.iter().map(|input| stem(input.as_ref())).collect();
        let mut sharing = HashMap::new();
        plain.iter().for_each(|name| *sharing.entry(key(name)).or_insert(0) += 1);
        let wanted: Vec<String> = plain
            .into_iter()
            .zip(inputs)
            .map(|(name, input)| if sharing[&key(&name)] > 1 { with_folder(&name, input.as_ref()) } else { name })
            .collect();
        let taken = taken.into_iter().chain(given.iter().flatten().map(String::as_str)).map(key).collect();
        Self(numbered(&wanted, given, taken))
    }

    /// The name of input `i`'s file of one kind for one target and method, such as `cat.281-tabby.overlay.png` or
    /// `cat.281-minus-162-tabby-beagle.gradcam.cam.npy`. `label` is the target in words. `None` if there is no such input.
    pub fn file(&self, i: usize, target: &Target, label: &str, method: Method, kind: Artifact) -> Option<String> {
        Some(format!("{}.{}.{}", self.0.get(i)?, middle(target, label, method), kind.suffix()))
    }

    /// The first part of a name that [`OutputNames::file`] gave: what is before the target, which holds no dot.
    pub(super) fn stem_of(file: &str, method: Method, kind: Artifact) -> Option<&str> {
        let rest = file.strip_suffix(kind.suffix())?.strip_suffix('.')?;
        Some(rest.strip_suffix(&method_part(method))?.rsplit_once('.')?.0)
    }

    /// The name of input `i`'s contact sheet. `None` if there is no such input.
    pub fn grid(&self, i: usize) -> Option<String> {
        Some(format!("{}.grid.png", self.0.get(i)?))
    }
}

/// The method with a dot before it, but nothing for the class activation map.
fn method_part(method: Method) -> String {
    if method == Method::Cam { String::new() } else { format!(".{}", method.name().replace('+', "p")) }
}

/// What stands between the input and the kind of file: the target's classes with their signs, its names, and the method unless that
/// is the class activation map itself. Different for different targets of the same names, and short.
fn middle(target: &Target, label: &str, method: Method) -> String {
    const MOST: usize = 48;
    const CLASSES: usize = 26;
    let mut classes = String::new();
    for (at, term) in target.terms().iter().enumerate() {
        classes += match (at, term.factor < 0.0) {
            (0, false) => "",
            (0, true) => "minus-",
            (_, false) => "-plus-",
            (_, true) => "-minus-",
        };
        classes += &term.class.to_string();
    }
    if classes.len() > CLASSES || target.terms().iter().any(|term| term.factor.abs() != 1.0) {
        // FNV-1a of everything tells long sums apart.
        let all = format!("{:?}", target.terms());
        let hash = all.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        classes = format!("{}-{hash:08x}", cut(&classes, CLASSES - 9));
    }
    let method = method_part(method);
    let slug = slug(label);
    let dash = if slug.is_empty() { "" } else { "-" };
    format!("{}{method}", cut(&format!("{classes}{dash}{slug}"), MOST - method.len()))
}

/// Each name once, and none that is `taken`: those in `given` stay; else the first input keeps what it wants unless it is taken,
/// the others get the least free number.
fn numbered(wanted: &[String], given: &[Option<String>], mut taken: HashSet<String>) -> Vec<String> {
    // Names that nobody else wants are settled first, so that `cat-2.jpg` is not renamed because of two `cat.jpg`.
    let mut sharing = HashMap::new();
    wanted.iter().for_each(|name| *sharing.entry(key(name)).or_insert(0) += 1);
    let alone: HashSet<String> =
        sharing.into_iter().filter(|(key, inputs)| *inputs == 1 && !taken.contains(key)).map(|(key, _)| key).collect();
    taken.extend(alone.iter().cloned());
    // Where the search for each name left off: ten thousand equal names stay linear.
    let mut next: HashMap<String, usize> = HashMap::new();
    let mut settle = |name: &String| {
        if alone.contains(&key(name)) {
            return name.clone();
        }
        let number = next.entry(key(name)).or_insert(1);
        loop {
            let candidate = match *number {
                1 => name.clone(),
                n => format!("{}-{n}", cut(name, STEM - 1 - n.to_string().len())),
            };
            *number += 1;
            if taken.insert(key(&candidate)) {
                return candidate;
            }
        }
    };
    wanted.iter().zip(given).map(|(name, given)| given.clone().unwrap_or_else(|| settle(name))).collect()
}

/// Names that a case-insensitive file system cannot tell apart share a key.
fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// `path`'s file name without extension, with letters, digits and `_ - .` kept and runs of anything else turned into one dash.
fn stem(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let safe = dashed(&name, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
    let safe = cut(&safe, STEM);
    if safe.is_empty() {
        return "image".to_owned();
    }
    // Windows keeps these names for devices, whatever follows the first dot.
    let first = safe.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let numbered_port = |port| first.strip_prefix(port).is_some_and(|n| n.len() == 1 && n.chars().all(|c| c.is_ascii_digit()));
    let device = matches!(first.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered_port("COM") || numbered_port("LPT");
    if device { format!("_{safe}") } else { safe.to_owned() }
}

fn with_folder(name: &str, path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let folder = dashed(&folder, |c| c.is_ascii_alphanumeric() || c == '_');
    let folder = cut(&folder, PARENT);
    if folder.is_empty() {
        return name.to_owned();
    }
    cut(&format!("{folder}-{name}"), STEM).to_owned()
}

/// A class name in lower case, letters and digits only, the rest as single dashes.
fn slug(name: &str) -> String {
    cut(&dashed(&name.to_lowercase(), |c| c.is_ascii_alphanumeric()), CLASS).to_owned()
}

/// `text` with each run of characters that are not `kept` as one dash; none at the ends.
fn dashed(text: &str, kept: impl Fn(char) -> bool) -> String {
    let words: Vec<&str> = text.split(|c| !kept(c)).filter(|word| !word.is_empty()).collect();
    words.join("-").trim_matches(['.', '-']).to_owned()
}

/// The first `length` bytes of ASCII `text`, without a dash or dot at the cut.
fn cut(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text).trim_end_matches(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cam::{Score, Term};

    fn names(inputs: &[&str]) -> Vec<String> {
        OutputNames::new(inputs).0
    }

    #[test]
    fn a_name_of_its_own_is_kept() {
        assert_eq!(names(&["a/IMG_0001.JPG", "b/cat.v2.png", "x"]), ["IMG_0001", "cat.v2", "x"]);
    }

    #[test]
    fn equal_stems_get_their_folder_then_a_number() {
        assert_eq!(names(&["a/cat.jpg", "b/cat.jpg"]), ["a-cat", "b-cat"]);
        assert_eq!(names(&["a/cat.jpg", "a/cat.png", "a/cat-2.png"]), ["a-cat", "a-cat-2", "cat-2"]);
        assert_eq!(names(&["cat.jpg", "cat.png", "cat-2.gif"]), ["cat", "cat-3", "cat-2"]);
        assert_eq!(names(&["x/Cat.jpg", "y/cAT.jpg"]), ["x-Cat", "y-cAT"]);
        assert_eq!(names(&["q/a/cat.jpg", "r/a/cat.jpg"]), ["a-cat", "a-cat-2"]);
        // The name that a folder makes is another input's own.
        assert_eq!(names(&["a/cat.jpg", "b/cat.jpg", "a-cat.jpg"]), ["a-cat", "b-cat", "a-cat-2"]);
    }

    #[test]
    fn names_that_are_given_stay() {
        let given = |name: &str| Some(name.to_owned());
        let names = |inputs: &[&str], given: &[_], taken: &[&str]| OutputNames::beside(inputs, given, taken.iter().copied()).0;
        // Done before another of its name came.
        assert_eq!(names(&["a/cat.jpg", "b/cat.jpg"], &[given("cat"), None], &[]), ["cat", "b-cat"]);
        assert_eq!(names(&["cat.jpg", "dog.jpg"], &[None, given("Cat")], &[]), ["cat-2", "Cat"]);
        assert_eq!(names(&["cat.jpg", "cat.png"], &[None, None], &["CAT", "cat-3"]), ["cat-2", "cat-4"]);
        assert_eq!(names(&["cat.jpg", "cat.jpg"], &[None, given("cat-2")], &[]), ["cat", "cat-2"]);
        assert_eq!(names(&["cat.jpg"], &[None], &["cat"]), ["cat-2"]);
    }

    #[test]
    fn unsafe_characters_become_dashes() {
        let input = [
            "ca:t*?<>|\"\\ x.jpg",
            "..",
            ".hidden.png",
            "写真.jpg",
            "絵.jpg",
            "con.jpg",
            "Lpt1.x.jpg",
            "com10.jpg",
            "café au.jpg",
        ];
        let want = ["ca-t-x", "image", "hidden", "image-2", "image-3", "_con", "_Lpt1.x", "com10", "caf-au"];
        assert_eq!(names(&input), want);
    }

    #[test]
    fn ten_thousand_hostile_names_stay_short_and_different() {
        let inputs: Vec<String> = (0..10_000).map(|i| format!("{}/{}.jpg", "f".repeat(i % 60), "x".repeat(i % 300))).collect();
        let OutputNames(names) = OutputNames::new(&inputs);
        let different: HashSet<String> = names.iter().map(|n| key(n)).collect();
        assert_eq!(different.len(), inputs.len());
        let all = OutputNames(names);
        for i in 0..inputs.len() {
            let name = "very long class name ".repeat(9);
            for method in [Method::Cam, Method::GradCamElementWise] {
                let file = all.file(i, &Target::of_class(99_999), &name, method, Artifact::CamFull).unwrap();
                assert!(file.len() < 143 && file.is_ascii(), "{file}");
            }
        }
    }

    #[test]
    fn class_and_kind_follow_the_stem() {
        let names = OutputNames::new(&["in/cat.jpg"]);
        let file = |class, name, kind| names.file(0, &Target::of_class(class), name, Method::Cam, kind).unwrap();
        assert_eq!(file(282, "tiger cat", Artifact::Overlay), "cat.282-tiger-cat.overlay.png");
        assert_eq!(file(607, "jack-o'-lantern", Artifact::Heatmap), "cat.607-jack-o-lantern.heatmap.png");
        assert_eq!(file(3, "猫", Artifact::Cam), "cat.3.cam.npy");
        assert_eq!(file(0, "../../etc", Artifact::CamFull), "cat.0-etc.cam-full.npy");
        assert_eq!(names.file(1, &Target::of_class(0), "x", Method::Cam, Artifact::Cam), None);
        assert_eq!((names.grid(0).as_deref(), names.grid(1)), (Some("cat.grid.png"), None));
    }

    #[test]
    fn targets_of_the_same_names_have_files_of_their_own() {
        let target = |terms: &[(usize, f64)]| {
            let terms = terms.iter().map(|&(class, factor)| Term { class, factor }).collect();
            Target::new(terms, Score::Logit).unwrap()
        };
        let names = OutputNames::new(&["cat.jpg"]);
        let file = |terms: &[(usize, f64)], method| names.file(0, &target(terms), "a - b", method, Artifact::Cam).unwrap();
        assert_eq!(file(&[(1, 1.0), (2, -1.0)], Method::GradCamPlusPlus), "cat.1-minus-2-a-b.gradcampp.cam.npy");
        assert_eq!(file(&[(1, -1.0)], Method::Cam), "cat.minus-1-a-b.cam.npy");
        for (name, method) in [("a.b.1-minus-2-a-b.gradcampp.cam.npy", Method::GradCamPlusPlus), ("a.b.1.cam.npy", Method::Cam)] {
            assert_eq!(OutputNames::stem_of(name, method, Artifact::Cam), Some("a.b"));
        }
        let long = |last| (1000..1100).chain([last]).map(|class| (class, 1.0)).collect::<Vec<_>>();
        let several =
            [long(1), long(2), vec![(1, 1.0), (2, 1.0)], vec![(1, 1.0), (2, -1.0)], vec![(12, 1.0)], vec![(1, 2.0), (2, 1.0)]];
        let all: HashSet<String> = several.iter().map(|terms| file(terms, Method::GradCamElementWise)).collect();
        assert_eq!(all.len(), several.len());
        assert!(all.iter().all(|file| file.len() < 143 - 77), "{all:?}");
    }
}
