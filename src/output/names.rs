//! Names of output files: safe on every system, and no two inputs share one.

use std::collections::{HashMap, HashSet};
use std::path::Path;

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

    /// The name of input `i`'s file of one kind for one class, such as `cat.281-tabby.overlay.png`. `None` if there is no such
    /// input.
    pub fn file(&self, i: usize, class: usize, class_name: &str, kind: Artifact) -> Option<String> {
        Some(format!("{}{}", self.0.get(i)?, Self::rest(class, class_name, kind)))
    }

    /// What follows the first part of a file's name.
    pub(super) fn rest(class: usize, class_name: &str, kind: Artifact) -> String {
        let slug = slug(class_name);
        let dash = if slug.is_empty() { "" } else { "-" };
        format!(".{class}{dash}{slug}.{}", kind.suffix())
    }
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
            let file = all.file(i, 99_999, &"very long class name ".repeat(9), Artifact::CamFull).unwrap();
            assert!(file.len() < 143 && file.is_ascii(), "{file}");
        }
    }

    #[test]
    fn class_and_kind_follow_the_stem() {
        let names = OutputNames::new(&["in/cat.jpg"]);
        let file = |class, name, kind| names.file(0, class, name, kind).unwrap();
        assert_eq!(file(282, "tiger cat", Artifact::Overlay), "cat.282-tiger-cat.overlay.png");
        assert_eq!(file(607, "jack-o'-lantern", Artifact::Heatmap), "cat.607-jack-o-lantern.heatmap.png");
        assert_eq!(file(3, "猫", Artifact::Cam), "cat.3.cam.npy");
        assert_eq!(file(0, "../../etc", Artifact::CamFull), "cat.0-etc.cam-full.npy");
        assert_eq!(names.file(1, 0, "x", Artifact::Cam), None);
    }
}
