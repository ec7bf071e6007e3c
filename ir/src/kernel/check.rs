//! Which kernels are legal.
use super::Kernel;
/// A kernel that passed the checker.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked(Kernel);
impl std::ops::Deref for Checked {
    type Target = Kernel;
    fn deref(&self) -> &Kernel {
        &self.0
    }
}
/// Checks the invariants.
pub fn check(kernel: Kernel) -> Result<Checked, String> {
    Ok(Checked(kernel))
}
