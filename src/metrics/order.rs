//! Pixels by what a map says of them.

use crate::cam::{Map, MapError};

/// The pixels of a crop from the greatest value of a map down.
///
/// Ranked are raw signed values; where a ReLU would make many of them equal, their order still says something. Equal ones follow
/// each other row by row.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// For each pixel, how many come before it.
    ranks: Vec<u32>,
}

impl Order {
    /// The order of the pixels of `map`, which has the size of the crop.
    pub fn new(map: &Map) -> Result<Self, MapError> {
        map.stats()?;
        let values = map.data();
        let mut order: Vec<u32> = (0..values.len() as u32).collect(); // a crop has fewer than 2^32 pixels
        // Stable: equal ones stay as they are. There is no NaN among them.
        order.sort_by(|&a, &b| values[b as usize].partial_cmp(&values[a as usize]).unwrap_or(std::cmp::Ordering::Equal));
        let mut ranks = vec![0; values.len()];
        (0..).zip(order).for_each(|(rank, pixel)| ranks[pixel as usize] = rank);
        Ok(Self { ranks })
    }

    pub fn ranks(&self) -> &[u32] {
        &self.ranks
    }

    /// Pixels.
    pub fn len(&self) -> usize {
        self.ranks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greatest_first_and_equal_ones_in_reading_order() {
        let order = Order::new(&Map::new(2, 3, vec![1.0, -0.0, 5.0, 0.0, 1.0, -2.0])).unwrap();
        assert_eq!(order.ranks(), [1, 3, 0, 4, 2, 5]);
        assert!(Order::new(&Map::new(1, 2, vec![1.0, f32::NAN])).is_err());
        assert_eq!(Order::new(&Map::new(2, 2, vec![7.0; 4])).unwrap().ranks(), [0, 1, 2, 3], "a constant map");
    }
}
