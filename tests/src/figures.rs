//! The form of a benchmark's figures, and the order statistics that become one.

use std::io::Write;

/// Prints `NAME ours=X peer=Y ratio=R goal=G`; what a figure has not is left out.
pub fn print(name: &str, ours: f64, peer: Option<f64>, goal: Option<&str>) {
    let mut line = format!("{name} ours={ours:.3}");
    if let Some(peer) = peer {
        line.push_str(&format!(" peer={peer:.3} ratio={:.3}", ours / peer));
    }
    if let Some(goal) = goal {
        line.push_str(&format!(" goal={goal}"));
    }
    // A closed standard output is the reader's choice.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// The value below which `part` (0 to 1) of all values are; 0 of no values.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let index = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or_default()
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5)
}
