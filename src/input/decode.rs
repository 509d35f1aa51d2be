//! From the bytes of a picture file to upright 8-bit RGB.

use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Luma, LumaA, Pixel, Rgb, RgbImage, Rgba};

use super::{InputError, MAX_DECODED_BYTES, MAX_FILE_BYTES, MAX_PIXELS, sniff};

/// Decodes `bytes`; see [`Picture`](super::Picture) for the colours. `room` is told what the pixels will take.
///
/// The decoders are other people's code and see whatever is on a disk: should one panic, that is an error of its picture.
pub(super) fn decode(name: &str, bytes: &[u8], room: &mut dyn FnMut(u64)) -> Result<RgbImage, InputError> {
    let decode = AssertUnwindSafe(|| decode_trusting(name, bytes, room));
    catch_unwind(decode).unwrap_or_else(|_| Err(InputError::GaveUp { name: name.to_owned() }))
}

fn decode_trusting(name: &str, bytes: &[u8], room: &mut dyn FnMut(u64)) -> Result<RgbImage, InputError> {
    let name = || name.to_owned();
    if bytes.is_empty() {
        return Err(InputError::Empty { name: name() });
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(InputError::FileTooLong { name: name(), limit: MAX_FILE_BYTES });
    }
    let format = sniff::format(bytes).ok_or_else(|| InputError::Format { name: name(), found: sniff::describe(bytes) })?;
    // The JPEG decoder fills what is missing with grey and reports nothing; the WebP decoder may miss an orientation at the end.
    if format == ImageFormat::Jpeg && !sniff::jpeg_is_whole(bytes) || format == ImageFormat::WebP && !sniff::webp_is_whole(bytes)
    {
        return Err(InputError::Truncated { name: name(), format });
    }
    let failed = |source| match source {
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => InputError::Truncated { name: name(), format },
        source => InputError::Decode { name: name(), format, source },
    };

    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (w, h) = decoder.dimensions();
    if u64::from(w) * u64::from(h) > MAX_PIXELS || decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(InputError::TooLarge { name: name(), w, h });
    }
    if w == 0 || h == 0 {
        return Err(InputError::NoPixels { name: name(), w, h });
    }
    // What the decoder returns, and RGB made of it: less for plain RGB, but there a decoder has as much for itself.
    room(decoder.total_bytes() + u64::from(w) * u64::from(h) * 3);
    // As in Pillow, damaged EXIF data does not cost the picture.
    let orientation = decoder.orientation().ok();
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    let found = image.color();
    let rgb = to_rgb(image).ok_or_else(|| InputError::Samples { name: name(), found: format!("{found:?}") })?;
    Ok(match orientation {
        Some(orientation) => {
            let mut upright = DynamicImage::ImageRgb8(rgb);
            upright.apply_orientation(orientation);
            upright.into_rgb8()
        }
        None => rgb,
    })
}

/// Drops alpha, repeats grey, keeps the high byte; `None` for floating-point samples.
fn to_rgb(image: DynamicImage) -> Option<RgbImage> {
    let high = |v: u16| (v >> 8) as u8;
    Some(match image {
        DynamicImage::ImageRgb8(i) => i,
        DynamicImage::ImageLuma8(i) => map(&i, |Luma([v])| [*v; 3]),
        DynamicImage::ImageLumaA8(i) => map(&i, |LumaA([v, _])| [*v; 3]),
        DynamicImage::ImageRgba8(i) => map(&i, |Rgba([r, g, b, _])| [*r, *g, *b]),
        DynamicImage::ImageLuma16(i) => map(&i, |Luma([v])| [high(*v); 3]),
        DynamicImage::ImageLumaA16(i) => map(&i, |LumaA([v, _])| [high(*v); 3]),
        DynamicImage::ImageRgb16(i) => map(&i, |Rgb(v)| v.map(high)),
        DynamicImage::ImageRgba16(i) => map(&i, |Rgba([r, g, b, _])| [*r, *g, *b].map(high)),
        _ => return None,
    })
}

/// Applies `rgb` to every pixel.
fn map<P: Pixel>(image: &image::ImageBuffer<P, Vec<P::Subpixel>>, rgb: impl Fn(&P) -> [u8; 3]) -> RgbImage {
    let mut out = RgbImage::new(image.width(), image.height());
    for (out, pixel) in out.pixels_mut().zip(image.pixels()) {
        out.0 = rgb(pixel);
    }
    out
}
