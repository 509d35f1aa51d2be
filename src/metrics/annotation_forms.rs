//! The forms of annotation files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::annotations::{Annotated, AnnotationError, MaskFile, Object};
use crate::cam::PixelBox;

/// An entry of the JSON form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonImage {
    image: PathBuf,
    objects: Vec<JsonObject>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonObject {
    class: Class,
    #[serde(rename = "box")]
    bounds: Option<[f64; 4]>,
    mask: Option<PathBuf>,
    value: Option<u8>,
}

/// A class by its name or index.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a class's name or its index")]
enum Class {
    Name(String),
    Index(u64),
}

impl Class {
    fn text(self) -> String {
        match self {
            Self::Name(name) => name,
            Self::Index(index) => index.to_string(),
        }
    }
}

/// A line of the CSV form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    image: PathBuf,
    class: String,
    x0: Option<f64>,
    y0: Option<f64>,
    x1: Option<f64>,
    y1: Option<f64>,
    mask: Option<PathBuf>,
    value: Option<u8>,
}

/// The parts of COCO's form that are read.
#[derive(Deserialize)]
pub(super) struct Coco {
    images: Vec<CocoImage>,
    annotations: Vec<CocoObject>,
    categories: Vec<CocoCategory>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: PathBuf,
}

#[derive(Deserialize)]
struct CocoObject {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
}

#[derive(Deserialize)]
struct CocoCategory {
    id: u64,
    name: String,
}

/// Objects, sorted into their pictures.
pub(super) struct Collected<'a> {
    path: &'a Path,
    pub images: Vec<Annotated>,
    places: HashMap<PathBuf, usize>,
}

impl<'a> Collected<'a> {
    /// Nothing yet, of the file `path`.
    pub fn new(path: &'a Path) -> Self {
        Self { path, images: Vec::new(), places: HashMap::new() }
    }

    fn bad(&self, entry: impl Into<String>, problem: impl ToString) -> AnnotationError {
        AnnotationError::Entry { path: self.path.to_owned(), entry: entry.into(), problem: problem.to_string() }
    }

    fn add(&mut self, image: PathBuf, object: Object) -> Result<(), AnnotationError> {
        if object.class.trim().is_empty() || image.as_os_str().is_empty() {
            return Err(self.bad(object.entry, "the image or the class is empty, expected a name"));
        }
        match (&object.bounds, &object.mask) {
            (None, None) => return Err(self.bad(object.entry, "the object has no place, expected a box or a mask")),
            (Some(_), Some(_)) => return Err(self.bad(object.entry, "the object has a box and a mask, expected one of them")),
            _ => {}
        }
        let images = &mut self.images;
        let place = *self.places.entry(image.clone()).or_insert_with(|| {
            images.push(Annotated { image, objects: Vec::new() });
            images.len() - 1
        });
        self.images[place].objects.push(object);
        Ok(())
    }

    pub fn json(&mut self, entries: Vec<Value>) -> Result<(), AnnotationError> {
        for (number, entry) in entries.into_iter().enumerate() {
            let entry_name = format!("image {}", number + 1);
            let entry: JsonImage = serde_json::from_value(entry).map_err(|error| self.bad(&entry_name, error))?;
            for (number, JsonObject { class, bounds, mask, value }) in entry.objects.into_iter().enumerate() {
                let entry_name = format!("{entry_name} ({}), object {}", entry.image.display(), number + 1);
                let bounds = bounds.map(|[x0, y0, x1, y1]| PixelBox { x0, y0, x1, y1 });
                let object =
                    Object { class: class.text(), entry: entry_name, bounds, mask: mask.map(|path| MaskFile { path, value }) };
                self.add(entry.image.clone(), object)?;
            }
        }
        Ok(())
    }

    pub fn csv(&mut self, bytes: &[u8]) -> Result<(), AnnotationError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(bytes);
        if !reader.headers().is_ok_and(|header| header.iter().take(2).eq(["image", "class"])) {
            let problem = "it is neither JSON, nor does its first line begin with `image,class`".to_owned();
            return Err(AnnotationError::Form { path: self.path.to_owned(), problem });
        }
        let header = reader.headers().cloned().unwrap_or_default();
        let (mut line, mut seen) = (1, 0);
        for record in reader.records() {
            let record = record.map_err(|error| self.bad("CSV", error))?; // these have the line
            // The reader's own number is one too small where lines end as on Windows.
            let start = record.position().map_or(seen, |position| (position.byte() as usize).clamp(seen, bytes.len()));
            let start = start + bytes[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            line += bytes[seen..start].iter().filter(|byte| **byte == b'\n').count();
            seen = start;
            let entry = format!("line {line}");
            if record.len() > header.len() {
                let problem =
                    format!("it has {} fields, expected at most {}: quote what holds a comma", record.len(), header.len());
                return Err(self.bad(entry, problem));
            }
            let fields: Line = record.deserialize(Some(&header)).map_err(|error| self.bad(&entry, error))?;
            let Line { image, class, x0, y0, x1, y1, mask, value } = fields;
            let bounds = match (x0, y0, x1, y1) {
                (Some(x0), Some(y0), Some(x1), Some(y1)) => Some(PixelBox { x0, y0, x1, y1 }),
                (None, None, None, None) => None,
                _ => return Err(self.bad(entry, "the box lacks an edge, expected all of x0, y0, x1 and y1, or none")),
            };
            self.add(image, Object { class, entry, bounds, mask: mask.map(|path| MaskFile { path, value }) })?;
        }
        Ok(())
    }

    pub fn coco(&mut self, coco: Coco) -> Result<(), AnnotationError> {
        let images: HashMap<u64, PathBuf> = coco.images.into_iter().map(|image| (image.id, image.file_name)).collect();
        let names: HashMap<u64, String> = coco.categories.into_iter().map(|category| (category.id, category.name)).collect();
        for (number, CocoObject { image_id, category_id, bbox: [x, y, w, h] }) in coco.annotations.into_iter().enumerate() {
            let entry = format!("annotation {}", number + 1);
            let Some(image) = images.get(&image_id) else {
                return Err(self.bad(entry, format!("image_id is {image_id}, expected the id of one of `images`")));
            };
            let Some(class) = names.get(&category_id) else {
                return Err(self.bad(entry, format!("category_id is {category_id}, expected the id of one of `categories`")));
            };
            let bounds = Some(PixelBox { x0: x, y0: y, x1: x + w, y1: y + h });
            self.add(image.clone(), Object { class: class.clone(), entry, bounds, mask: None })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Annotations;

    fn parse(text: &str) -> Result<Vec<Annotated>, String> {
        Annotations::parse("a.txt".as_ref(), text.as_bytes()).map(|found| found.images).map_err(|error| error.to_string())
    }

    fn boxed(class: &str, entry: &str, [x0, y0, x1, y1]: [f64; 4]) -> Object {
        Object { class: class.into(), entry: entry.into(), bounds: Some(PixelBox { x0, y0, x1, y1 }), mask: None }
    }

    #[test]
    fn three_forms_of_the_same() {
        let want = |entries: [&str; 3]| {
            let object = |at: usize, class, edges| boxed(class, entries[at], edges);
            vec![
                Annotated {
                    image: "a/1.jpg".into(),
                    objects: vec![object(0, "dog", [1.0, 2.0, 31.5, 42.0]), object(1, "big, red dog", [0.0, 0.0, 5.0, 5.0])],
                },
                Annotated { image: "2.jpg".into(), objects: vec![object(2, "dog", [3.0, 4.0, 5.0, 6.0])] },
            ]
        };
        let json = r#"[{"image": "a/1.jpg", "objects": [{"class": "dog", "box": [1, 2, 31.5, 42]}, {"class": "big, red dog", "box": [0, 0, 5, 5]}]},
            {"image": "2.jpg", "objects": [{"class": "dog", "box": [3, 4, 5, 6]}]}]"#;
        let entries = ["image 1 (a/1.jpg), object 1", "image 1 (a/1.jpg), object 2", "image 2 (2.jpg), object 1"];
        assert_eq!(parse(json), Ok(want(entries)));
        let csv = "image,class,x0,y0,x1,y1\na/1.jpg,dog,1,2,31.5,42\n a/1.jpg ,\"big, red dog\",0,0,5,5\r\n2.jpg,dog,3,4,5,6\n";
        assert_eq!(parse(csv), Ok(want(["line 2", "line 3", "line 4"])));
        let coco = r#"{"info": {}, "images": [{"id": 7, "file_name": "2.jpg", "width": 9}, {"id": 3, "file_name": "a/1.jpg"}],
            "categories": [{"id": 1, "name": "dog", "supercategory": "animal"}, {"id": 90, "name": "big, red dog"}],
            "annotations": [{"id": 1, "image_id": 3, "category_id": 1, "bbox": [1, 2, 30.5, 40], "iscrowd": 0},
            {"id": 2, "image_id": 3, "category_id": 90, "bbox": [0, 0, 5, 5]}, {"id": 3, "image_id": 7, "category_id": 1, "bbox": [3, 4, 2, 2]}]}"#;
        assert_eq!(parse(coco), Ok(want(["annotation 1", "annotation 2", "annotation 3"])));
    }

    #[test]
    fn masks_and_indices() {
        let mask = |value| Some(MaskFile { path: "1.png".into(), value });
        let found = parse(
            r#"[{"image": "1.jpg", "objects": [{"class": 3, "mask": "1.png", "value": 2}, {"class": "4", "mask": "1.png"}]}]"#,
        );
        let found = found.unwrap().remove(0).objects;
        assert_eq!((&*found[0].class, &found[0].mask, found[0].bounds), ("3", &mask(Some(2)), None));
        assert_eq!((&*found[1].class, &found[1].mask), ("4", &mask(None)));
        let found = parse("image,class,mask,value\n1.jpg,3,1.png,2\n1.jpg,4,1.png,\n").unwrap().remove(0).objects;
        assert_eq!((&found[0].mask, &found[1].mask), (&mask(Some(2)), &mask(None)));
    }

    #[test]
    fn mistakes_name_file_entry_and_what_was_expected() {
        for (text, parts) in [
            ("", &["a.txt", "annotates no image", "docs/methods.md"][..]),
            ("[]", &["annotates no image"]),
            ("[{", &["a.txt", "line 1"]),
            ("hello", &["neither JSON", "image,class"]),
            ("file,class\n1.jpg,dog\n", &["image,class"]),
            (r#"[{"image": "1.jpg"}]"#, &["image 1", "missing field `objects`"]),
            (
                r#"[{"image": "1.jpg", "objects": [{"class": "dog", "bbox": [1, 2, 3, 4]}]}]"#,
                &["image 1", "unknown field `bbox`", "`box`"],
            ),
            (r#"[{"image": "1.jpg", "objects": [{"class": "dog", "box": [1, 2, 3]}]}]"#, &["image 1", "array of length 4"]),
            (
                r#"[{"image": "1.jpg", "objects": [{"class": "dog"}]}]"#,
                &["image 1 (1.jpg), object 1", "expected a box or a mask"],
            ),
            (
                r#"[{"image": "1.jpg", "objects": [{"class": "dog", "box": [1, 2, 3, 4], "mask": "m.png"}]}]"#,
                &["expected one of them"],
            ),
            (r#"[{"image": "1.jpg", "objects": [{"class": "", "box": [1, 2, 3, 4]}]}]"#, &["object 1", "empty"]),
            ("image,class,x0,y0,x1,y1\n1.jpg,dog,1,2,3,four\n", &["line 2", "invalid float"]),
            ("image,class,x0,y0,x1,y1\n1.jpg,dog,1,2,3,4\n1.jpg,dog,1,2,3,\n", &["line 3", "lacks an edge"]),
            ("image,class,x0,y0,x1,y1\n1.jpg,dog,1,2\n", &["line 2", "lacks an edge"]),
            ("image,class,x0,y0,x1,y1\r\n\r\n1.jpg,big,red dog,1,2,3,4\r\n", &["line 3", "7 fields", "quote"]),
            (r#"{"images": [], "annotations": []}"#, &["missing field `categories`"]),
            (
                r#"{"images": [], "categories": [], "annotations": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, 1, 1]}]}"#,
                &["annotation 1", "image_id is 5"],
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }
}
