//! The values of a mask's pixels, as they are stored.

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

/// Most bytes of a decoded mask.
const MOST: usize = 1 << 30;

/// Width, height and values of a PNG of one channel or a palette, whose entries' numbers are the values: an image library would look
/// their colours up.
pub(super) fn values(bytes: &[u8]) -> Result<(usize, usize, Vec<u8>), String> {
    let mut decoder = Decoder::new_with_limits(std::io::Cursor::new(bytes), Limits { bytes: MOST });
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (color, depth) = reader.output_color_type();
    let bits = match (color, depth) {
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::One) => 1,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Two) => 2,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Four) => 4,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Eight) => 8,
        (color, depth) => return Err(format!("it has {depth:?} bits a sample of {color:?} pixels")),
    };
    let size = reader.output_buffer_size().filter(|&size| size <= MOST).ok_or("it is too large")?;
    let mut data = vec![0; size];
    let frame = reader.next_frame(&mut data).map_err(|error| error.to_string())?;
    let (w, h) = (frame.width as usize, frame.height as usize);
    let per_byte = 8 / bits;
    let value = |line: &[u8], x: usize| {
        let shift = 8 - bits * (x % per_byte + 1);
        (line[x / per_byte] >> shift) & (0xff >> (8 - bits)) as u8
    };
    let lines = data.chunks_exact(frame.line_size.max(1)).take(h);
    let values: Vec<u8> = lines.flat_map(|line| (0..w).map(move |x| value(line, x))).collect();
    if values.len() == w * h { Ok((w, h, values)) } else { Err("it ends too early".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG of 5 x 2 pixels.
    fn png(color: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, 5, 2);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette([9, 9, 9, 200, 0, 0, 9, 9, 9, 0, 200, 0].as_slice());
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        out
    }

    #[test]
    fn values_of_every_depth_are_as_stored() {
        let want = Ok((5, 2, vec![0, 1, 0, 1, 1, 1, 0, 0, 0, 1]));
        assert_eq!(values(&png(ColorType::Grayscale, BitDepth::One, &[0b0101_1000, 0b1000_1000])), want);
        assert_eq!(values(&png(ColorType::Indexed, BitDepth::Two, &[0b0001_0001, 0b0100_0000, 0b0100_0000, 0b0100_0000])), want);
        assert_eq!(values(&png(ColorType::Indexed, BitDepth::Four, &[0x01, 0x01, 0x10, 0x10, 0x00, 0x10])), want);
        assert_eq!(values(&png(ColorType::Grayscale, BitDepth::Eight, &[0, 1, 0, 1, 1, 1, 0, 0, 0, 1])), want);
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        let colours = values(&png(ColorType::Rgb, BitDepth::Eight, &[0; 30])).unwrap_err();
        assert!(colours.contains("Rgb"), "{colours}");
        assert!(values(b"no picture").is_err());
        let whole = png(ColorType::Grayscale, BitDepth::Eight, &[0, 1, 0, 1, 1, 1, 0, 0, 0, 1]);
        for end in 0..whole.len() - 20 {
            assert!(values(&whole[..end]).is_err(), "cut at {end}");
        }
    }
}
