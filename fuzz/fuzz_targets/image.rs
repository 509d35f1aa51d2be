#![no_main]

#[path = "../checks/image.rs"]
mod image;

// A panic of a decoder is caught and becomes an error of its picture; libFuzzer's hook would end the process before that. Panics of
// this repository's code end it as ever.
libfuzzer_sys::fuzz_target!(
    init: {
        let end = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_foreign = |place: &std::panic::Location<'_>| place.file().contains("/registry/src/");
            if !panic.location().is_some_and(is_foreign) {
                end(panic);
            }
        }));
    },
    |data: &[u8]| image::check("fuzz.image", data)
);
