//! Element types of arrays and tiles, and their rounding.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Element type of an array or a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE double precision: evaluators and verification code only.
    F64,
    /// IEEE single precision: gates, states, accumulators.
    F32,
    /// IEEE half precision.
    F16,
    /// Truncated single precision with 8 significant bits.
    Bf16,
}

impl Dtype {
    /// All element types.
    pub const ALL: &'static [Dtype] = &[Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16];

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F64 => 8,
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    /// The nearest value of this type, ties to even. 16-bit types are rounded from the nearest f32,
    /// as conversion instructions do (and because `half` 2.7 drops half of a double's bits when it
    /// looks for ties).
    pub fn round(self, x: f64) -> f64 {
        match self {
            Dtype::F64 => x,
            Dtype::F32 => f64::from(x as f32),
            Dtype::F16 => half::f16::from_f32(x as f32).to_f64(),
            Dtype::Bf16 => half::bf16::from_f32(x as f32).to_f64(),
        }
    }

    /// Half the distance from 1 to the next value: the relative error of one rounding.
    pub fn unit_roundoff(self) -> f64 {
        match self {
            Dtype::F64 => f64::EPSILON / 2.0,
            Dtype::F32 => f64::from(f32::EPSILON) / 2.0,
            Dtype::F16 => 2f64.powi(-11),
            Dtype::Bf16 => 2f64.powi(-8),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F64 => "f64",
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        })
    }
}

impl FromStr for Dtype {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Dtype::ALL.iter().copied().find(|d| d.to_string() == text).ok_or(())
    }
}
