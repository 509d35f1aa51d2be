#![no_main]

#[path = "../checks/image.rs"]
mod image;

libfuzzer_sys::fuzz_target!(|data: &[u8]| image::check("fuzz.image", data));
