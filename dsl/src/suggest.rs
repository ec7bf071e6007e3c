//! Which known name a misspelt one was meant to be.

/// The help line for `wrong`, if a candidate is close enough to be meant.
pub(crate) fn did_you_mean<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // A third of the letters may be wrong; in a name of one letter, none but its case.
    let allowed = wrong.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|c| (distance(&wrong.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, _)| *d <= if wrong.chars().count() == 1 { 0 } else { allowed })
        .min()
        .map(|(_, c)| format!("did you mean `{c}`?"))
}

/// Letters to insert, delete or replace to turn `a` into `b` [Levenshtein 1966].
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["beta", "gate", "softplus", "S"];
        let meant = |wrong: &str| did_you_mean(wrong, known);
        assert_eq!(meant("bata").as_deref(), Some("did you mean `beta`?"));
        assert_eq!(meant("soft_plus").as_deref(), Some("did you mean `softplus`?"));
        assert_eq!(meant("s").as_deref(), Some("did you mean `S`?"));
        assert_eq!(meant("k"), None);
        assert_eq!(meant("query"), None);
    }
}
