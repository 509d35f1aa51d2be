//! Where an object is.

use super::MetricsError;
use crate::cam::PixelBox;
use crate::input::CropTransform;

/// Pixels that an object has, of a picture or of the crop that the network saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    w: usize,
    h: usize,
    inside: Vec<bool>,
}

impl Mask {
    /// A mask of `w` x `h` pixels, row after row.
    ///
    /// # Panics
    /// If `inside` does not hold `w * h` values: a mistake of the caller, not of any input.
    pub fn new(w: usize, h: usize, inside: Vec<bool>) -> Self {
        assert_eq!(inside.len(), w * h, "a {w}x{h} mask");
        Self { w, h, inside }
    }

    /// What either has.
    ///
    /// # Errors
    /// If their sizes differ; both are returned, this one first.
    pub fn or(&mut self, other: &Self) -> Result<(), [(usize, usize); 2]> {
        if (self.w, self.h) != (other.w, other.h) {
            return Err([(self.w, self.h), (other.w, other.h)]);
        }
        self.inside.iter_mut().zip(&other.inside).for_each(|(a, b)| *a |= b);
        Ok(())
    }

    /// The pixels inside, column and row.
    fn pixels(&self) -> impl Iterator<Item = (usize, usize)> {
        self.inside.iter().enumerate().filter(|(_, inside)| **inside).map(|(i, _)| (i % self.w, i / self.w))
    }

    /// The smallest box round the pixels, in their own units.
    fn bounds(&self) -> Option<PixelBox> {
        let of = |(x, y): (usize, usize)| PixelBox { x0: x as f64, y0: y as f64, x1: x as f64 + 1.0, y1: y as f64 + 1.0 };
        self.pixels().map(of).reduce(|a, b| PixelBox {
            x0: a.x0.min(b.x0),
            y0: a.y0.min(b.y0),
            x1: a.x1.max(b.x1),
            y1: a.y1.max(b.y1),
        })
    }
}

/// Where the objects of a class are in one picture: boxes round them, or their pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// In pixels of the original picture.
    boxes: Vec<PixelBox>,
    /// Centres of the mask's pixels in the original picture, if there is a mask.
    centres: Vec<(f64, f64)>,
    /// The mask for the pixels of the crop.
    crop: Option<Vec<bool>>,
}

impl Truth {
    /// Objects with these boxes, in pixels of the original picture, upright.
    ///
    /// # Errors
    /// If there is none, or one has no area, or lies outside the picture.
    pub fn of_boxes(boxes: Vec<PixelBox>, transform: &CropTransform) -> Result<Self, MetricsError> {
        if boxes.is_empty() {
            return Err(MetricsError::NoExtent);
        }
        let (width, height) = (f64::from(transform.original.0), f64::from(transform.original.1));
        for found in &boxes {
            let finite = [found.x0, found.y0, found.x1, found.y1].iter().all(|edge| edge.is_finite());
            let seen = found.x0 < width && found.y0 < height && found.x1 > 0.0 && found.y1 > 0.0;
            // Not the area alone, which two negative sides would make positive.
            if !(finite && seen && found.x0 < found.x1 && found.y0 < found.y1) {
                return Err(MetricsError::Box { found: *found, original: transform.original });
            }
        }
        Ok(Self { boxes, centres: Vec::new(), crop: None })
    }

    /// Objects with these pixels, of the original picture, upright, or of the crop: the mask's size tells. The box is the smallest
    /// round all of them.
    ///
    /// # Errors
    /// If no pixel is inside, or the mask has neither size.
    pub fn of_mask(mask: &Mask, transform: &CropTransform) -> Result<Self, MetricsError> {
        let bounds = mask.bounds().ok_or(MetricsError::NoExtent)?;
        let size = (mask.w as u32, mask.h as u32);
        let of_crop = size == transform.crop;
        if !of_crop && size != transform.original {
            let (found, original, crop) = (size, transform.original, transform.crop);
            return Err(MetricsError::MaskSize { found, original, crop });
        }
        let centre = |(x, y): (usize, usize)| {
            let centre = (x as f64 + 0.5, y as f64 + 0.5);
            if of_crop { transform.crop_to_original(centre) } else { centre }
        };
        let bounds = if of_crop { bounds.in_original(transform) } else { bounds };
        let (w, h) = (transform.crop.0 as usize, transform.crop.1 as usize);
        let at_crop = |i: usize| {
            if of_crop {
                return mask.inside[i];
            }
            let (x, y) = transform.crop_to_original(((i % w) as f64 + 0.5, (i / w) as f64 + 0.5));
            let (inside_x, inside_y) = ((0.0..mask.w as f64).contains(&x), (0.0..mask.h as f64).contains(&y));
            inside_x && inside_y && mask.inside[y as usize * mask.w + x as usize]
        };
        Ok(Self {
            boxes: vec![bounds],
            centres: mask.pixels().map(centre).collect(),
            crop: Some((0..w * h).map(at_crop).collect()),
        })
    }

    /// Boxes round the objects, in pixels of the original picture.
    pub fn boxes(&self) -> &[PixelBox] {
        &self.boxes
    }

    /// For each pixel of the crop whether it is an object's; `None` where only boxes are known.
    pub fn crop_mask(&self) -> Option<&[bool]> {
        self.crop.as_deref()
    }

    /// Whether a point of the original picture is at most `tolerance` pixels away from an object: from the centre of one of its
    /// pixels, or, where only boxes are known, from a box.
    pub fn is_near(&self, (x, y): (f64, f64), tolerance: f64) -> bool {
        let within = |dx: f64, dy: f64| dx * dx + dy * dy <= tolerance * tolerance;
        if self.crop.is_some() {
            return self.centres.iter().any(|centre| within(centre.0 - x, centre.1 - y));
        }
        let gap = |low: f64, high: f64, at: f64| (low - at).max(at - high).max(0.0);
        self.boxes.iter().any(|b| within(gap(b.x0, b.x1, x), gap(b.y0, b.y1, y)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: CropTransform = CropTransform { original: (40, 20), resized: (20, 10), offset: (5, 0), crop: (10, 10) };

    #[test]
    fn masks_of_the_original_and_of_the_crop() {
        // Columns 16 to 19 and rows 4 to 7 of the original are columns 3 and 4, rows 2 and 3, of the crop.
        let original = Mask::new(40, 20, (0..800).map(|i| (16..20).contains(&(i % 40)) && (4..8).contains(&(i / 40))).collect());
        let crop = Mask::new(10, 10, (0..100).map(|i| (3..5).contains(&(i % 10)) && (2..4).contains(&(i / 10))).collect());
        let (a, b) = (Truth::of_mask(&original, &CUT).unwrap(), Truth::of_mask(&crop, &CUT).unwrap());
        assert_eq!(a.boxes(), [PixelBox { x0: 16.0, y0: 4.0, x1: 20.0, y1: 8.0 }]);
        assert_eq!((a.boxes(), a.crop_mask()), (b.boxes(), b.crop_mask()));
        assert_eq!(a.crop_mask().unwrap().iter().filter(|inside| **inside).count(), 4);
        assert!(a.is_near((19.5, 7.5), 0.0) && !a.is_near((20.5, 7.5), 0.9) && a.is_near((20.5, 7.5), 1.0));
        assert!(b.is_near((19.0, 7.0), 0.0), "the centre of a pixel of the crop");
        let boxes = Truth::of_boxes(a.boxes().to_vec(), &CUT).unwrap();
        assert!(boxes.is_near((23.0, 12.0), 5.0) && !boxes.is_near((23.0, 12.0), 4.9) && boxes.crop_mask().is_none());
    }

    #[test]
    fn what_is_nowhere_is_refused() {
        let empty = Truth::of_mask(&Mask::new(10, 10, vec![false; 100]), &CUT).unwrap_err().to_string();
        assert!(empty.contains("no pixel"), "{empty}");
        let size = Truth::of_mask(&Mask::new(7, 3, vec![true; 21]), &CUT).unwrap_err().to_string();
        assert!(size.contains("7x3") && size.contains("40x20") && size.contains("10x10"), "{size}");
        assert!(Truth::of_boxes(vec![], &CUT).is_err());
        for (x0, y0, x1, y1) in [(5.0, 5.0, 5.0, 9.0), (9.0, 9.0, 5.0, 5.0), (40.0, 0.0, 50.0, 9.0), (f64::NAN, 0.0, 1.0, 1.0)] {
            let error = Truth::of_boxes(vec![PixelBox { x0, y0, x1, y1 }], &CUT).unwrap_err().to_string();
            assert!(error.contains("40x20"), "{error}");
        }
        let mut mask = Mask::new(2, 1, vec![true, false]);
        assert_eq!(mask.or(&Mask::new(1, 1, vec![true])), Err([(2, 1), (1, 1)]));
        mask.or(&Mask::new(2, 1, vec![false, true])).unwrap();
        assert_eq!(mask, Mask::new(2, 1, vec![true, true]));
    }
}
