#![no_main]

#[path = "../checks/labels.rs"]
mod labels;

libfuzzer_sys::fuzz_target!(|data: &[u8]| labels::check("fuzz.labels", data));
