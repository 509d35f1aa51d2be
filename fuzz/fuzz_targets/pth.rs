#![no_main]

#[path = "../checks/weights.rs"]
mod weights;

libfuzzer_sys::fuzz_target!(|data: &[u8]| weights::check("fuzz.pth", data));
