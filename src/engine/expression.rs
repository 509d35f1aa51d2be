//! Targets as a user writes them.

use crate::Error;
use crate::cam::{Score, Target, Term};
use crate::labels::Labels;

/// The target that `text` means.
///
/// A text that as a whole names a class, by name or index, is that class: names may hold whatever they like. Any other is a sum:
/// classes with ` + ` or ` - ` between them, a space on both sides of the sign, and perhaps a `-` in front of the first. So the
/// hyphen of `go-kart` is never a sign, and a name that itself holds ` - ` is written by its index where it is one of several.
///
/// # Errors
/// [`Error::Label`] for a part that is no class, [`Error::Target`] for a class that is there twice.
pub(super) fn parse(labels: &Labels, text: &str, score: Score) -> Result<Target, Error> {
    let whole = match labels.find(text) {
        Ok(class) => return Ok(Target::of_class(class).with_score(score)),
        Err(error) => error,
    };
    let text = text.trim();
    let (mut factor, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut terms = Vec::new();
    loop {
        let next = [(" + ", 1.0), (" - ", -1.0)]
            .into_iter()
            .filter_map(|(sign, factor)| Some((rest.find(sign)?, factor)))
            .min_by_key(|next| next.0);
        let part = next.map_or(rest, |(at, _)| &rest[..at]);
        if next.is_none() && terms.is_empty() && factor > 0.0 {
            return Err(whole.into()); // no sign anywhere: what is unknown is the whole
        }
        terms.push(Term { class: labels.find(part)?, factor });
        let Some((at, sign)) = next else { return Ok(Target::new(terms, score)?) };
        (factor, rest) = (sign, &rest[at + 3..]);
    }
}

/// `target` in words: names with the signs that [`parse`] reads.
pub(super) fn describe(labels: &Labels, target: &Target) -> String {
    let mut text = String::new();
    for (at, term) in target.terms().iter().enumerate() {
        text += match (at, term.factor < 0.0) {
            (0, false) => "",
            (0, true) => "-",
            (_, false) => " + ",
            (_, true) => " - ",
        };
        if term.factor.abs() != 1.0 {
            text += &format!("{} * ", term.factor.abs());
        }
        text += labels.get(term.class).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        let names = ["dog", "go-kart", "dog - small", "-odd", "cat", "a + b"];
        Labels::new(names.map(str::to_owned).to_vec(), "the test's names")
    }

    fn terms(text: &str) -> Result<Vec<(usize, f64)>, String> {
        let target = parse(&labels(), text, Score::Logit).map_err(|error| error.to_string())?;
        Ok(target.terms().iter().map(|term| (term.class, term.factor)).collect())
    }

    #[test]
    fn names_come_before_signs() {
        assert_eq!(terms("go-kart"), Ok(vec![(1, 1.0)]));
        assert_eq!(terms("dog - small"), Ok(vec![(2, 1.0)]));
        assert_eq!(terms("a + b"), Ok(vec![(5, 1.0)]));
        assert_eq!(terms("-odd"), Ok(vec![(3, 1.0)]));
        assert_eq!(terms(" 4 "), Ok(vec![(4, 1.0)]));
    }

    #[test]
    fn sums_contrasts_and_counterfactuals() {
        assert_eq!(terms("dog - cat"), Ok(vec![(0, 1.0), (4, -1.0)]));
        assert_eq!(terms("go-kart + 2 - CAT"), Ok(vec![(1, 1.0), (2, 1.0), (4, -1.0)]));
        assert_eq!(terms("-dog"), Ok(vec![(0, -1.0)]));
        assert_eq!(terms("- 3 + cat"), Ok(vec![(3, -1.0), (4, 1.0)]));
        assert_eq!(terms("--odd"), Ok(vec![(3, -1.0)]));
    }

    #[test]
    fn mistakes_name_the_part() {
        for (text, part) in
            [("dog - wolf", "`wolf`"), ("wolf", "`wolf`"), ("dog-cat", "`dog-cat`"), ("-", "``"), ("dog - ", "`dog -`")]
        {
            let error = terms(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(terms("dog - 6").unwrap_err().contains("no class 6"));
        assert!(terms("dog - dog").unwrap_err().contains("class 0 stands in one target twice"));
    }

    #[test]
    fn words_are_read_back() {
        for text in ["dog - cat", "-dog", "go-kart + cat - dog"] {
            let target = parse(&labels(), text, Score::Logit).unwrap();
            assert_eq!(describe(&labels(), &target), text);
        }
    }
}
