//! Comparison of float arrays that fails on NaN and says where and by how much.

/// What may differ: `|got - want| <= abs + rel * |want|`.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub abs: f32,
    pub rel: f32,
}

impl Allowance {
    /// `tolerance` of the largest magnitude, the same for every element.
    pub fn of_largest(tolerance: f32, largest: f32) -> Self {
        Self { abs: tolerance * largest, rel: 0.0 }
    }

    fn for_value(self, want: f32) -> f32 {
        self.abs + self.rel * want.abs()
    }
}

/// The element that used most of its allowance.
#[derive(Clone, Copy, Debug)]
pub struct Worst {
    pub index: usize,
    pub got: f32,
    pub want: f32,
    /// 100 is the limit; infinite for NaN and for a difference where none is allowed.
    pub percent: f64,
}

/// Compares element by element.
///
/// # Errors
/// What is wrong and where, if a length differs, a value lies outside its allowance, or either side is not a number.
pub fn compare(what: &str, got: &[f32], want: &[f32], allowance: Allowance) -> Result<Option<Worst>, String> {
    if got.len() != want.len() {
        return Err(format!("{what}: {} values, expected {}", got.len(), want.len()));
    }
    let judge = |(index, (&got, &want)): (usize, (&f32, &f32))| {
        let percent = if got == want {
            0.0
        } else {
            let used = f64::from((got - want).abs()) / f64::from(allowance.for_value(want)) * 100.0;
            if want.is_finite() && used.is_finite() { used } else { f64::INFINITY }
        };
        Worst { index, got, want, percent }
    };
    let worst = got.iter().zip(want).enumerate().map(judge).reduce(|a, b| if b.percent > a.percent { b } else { a });
    let Some(w) = worst.filter(|w| w.percent > 100.0) else { return Ok(worst) };
    let outside = got.iter().zip(want).enumerate().map(judge).filter(|w| w.percent > 100.0).count();
    Err(format!(
        "{what}: {outside} of {} values outside the allowance; worst at {}: got {:e}, expected {:e}, {:.0} % of {:e}",
        got.len(),
        w.index,
        w.got,
        w.want,
        w.percent,
        allowance.for_value(w.want)
    ))
}

/// [`compare`] as an assertion; prints the share of the allowance that was used.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], allowance: Allowance) {
    match compare(what, got, want, allowance) {
        Ok(Some(w)) => println!("{what}: {:.2} % of the allowance at {}", w.percent, w.index),
        Ok(None) => println!("{what}: empty"),
        Err(message) => panic!("{message}"),
    }
}
