//! What must hold for any bytes that are opened as weights. Shared by the fuzz targets and the test `fuzz_seeds`.

use camshaft::weights::{WeightFile, WeightsError};

/// Opens `data` under the name `name` and reads every tensor.
///
/// # Panics
/// If a tensor is larger than the file, reads as a different number of elements than it has, or if an error does not name
/// the file in one line of bounded length.
pub fn check(name: &str, data: &[u8]) {
    let file = match WeightFile::from_bytes(name, data.to_vec()) {
        Ok(file) => file,
        Err(error) => return check_error(name, &error),
    };
    // many tensors may share a storage; reading them all would take time, not find more
    let mut left = 1 << 22;
    for tensor in file.names().map_while(|name| file.tensor(name)) {
        let elements = tensor.num_elements();
        assert!(elements * tensor.dtype().bitsize() / 8 <= data.len(), "{} is larger than the file", tensor.name());
        match tensor.to_f32() {
            Ok(values) => assert_eq!(values.len(), elements, "{}", tensor.name()),
            Err(error @ WeightsError::Dtype { .. }) => check_error(name, &error),
            Err(error) => panic!("an open file fails with {error}"),
        }
        left -= elements as i64;
        if left < 0 {
            return;
        }
    }
}

fn check_error(name: &str, error: &WeightsError) {
    let message = error.to_string();
    assert!(message.starts_with(name), "does not name the file: {message}");
    assert!(message.len() < 4096 && !message.contains('\n'), "not one line: {message}");
}
