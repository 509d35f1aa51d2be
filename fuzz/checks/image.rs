//! What must hold for any bytes that are decoded as a picture. Shared by the fuzz target and the test `fuzz_seeds`.

use camshaft::input::{InputError, MAX_PIXELS, Picture, Recipe};

/// Decodes `data` under the name `name` and prepares it for the network.
///
/// # Panics
/// If a picture has no pixels or more than allowed, its crop is not what the recipe says, or an error does not name the file in
/// one line of bounded length.
pub fn check(name: &str, data: &[u8]) {
    let picture = match Picture::decode(name, data) {
        Ok(picture) => picture,
        Err(error) => return check_error(name, &error),
    };
    let (w, h) = picture.rgb.dimensions();
    assert!(w > 0 && h > 0 && u64::from(w) * u64::from(h) <= MAX_PIXELS, "{w}x{h}");
    assert_eq!(picture.name, name);
    match Recipe::default().apply(&picture) {
        Ok(input) => {
            assert_eq!((input.h(), input.w(), input.tensor().len()), (224, 224, 224 * 224 * 3));
            assert_eq!(input.transform().original, (w, h));
            assert!(input.tensor().iter().all(|v| v.abs() < 3.0));
        }
        // too long and thin
        Err(error @ InputError::Resized { .. }) => check_error(name, &error),
        Err(error) => panic!("a decoded picture cannot be prepared: {error}"),
    }
}

fn check_error(name: &str, error: &InputError) {
    let message = error.to_string();
    assert!(message.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ")), "does not name the file: {message}");
    assert!(message.len() < 4096, "too long: {message}");
    assert!(!message.contains(char::is_control), "not one plain line: {message:?}");
}
