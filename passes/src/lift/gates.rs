//! Factors of a state as exponentials, with proof that no exponent is positive.

use super::Lifter;
use super::refusal::{Lifting, Refusal};
use egg::Id;
use sluice_ir::pointwise::{Binary, Interval, Unary};
use sluice_ir::step::{NodeId, Op};

impl Lifter<'_> {
    /// The logarithm of a factor of a state, at most 0: `x` for `exp(x)`, sums for products, and
    /// otherwise the logarithm of the factor's value.
    pub(super) fn log_factor(&mut self, factor: NodeId) -> Lifting<Id> {
        match self.recurrence.node(factor).op {
            Op::Unary(Unary::Exp, x) => {
                let log = self.term(x)?;
                self.check_exponent(x, log)?;
                Ok(log)
            }
            Op::Unary(Unary::Sigmoid, x) => {
                let x = self.term(x)?;
                Ok(self.builder.unary(Unary::LogSigmoid, x))
            }
            Op::Binary(Binary::Mul, a, b) => match (self.log_factor(a), self.log_factor(b)) {
                (Ok(a), Ok(b)) => Ok(self.builder.sum(a, b)),
                // The product may be at most 1 where its factors are not.
                (Err(refusal), _) | (_, Err(refusal)) => {
                    self.log_of_value(factor).map_err(|_| refusal)
                }
            },
            _ => self.log_of_value(factor),
        }
    }

    /// The logarithm of a factor in [0, 1].
    fn log_of_value(&mut self, factor: NodeId) -> Lifting<Id> {
        let value = self.term(factor)?;
        self.log_of_term(value, factor)
    }

    /// The logarithm of a term in [0, 1] that stands for a factor at a node.
    pub(super) fn log_of_term(&mut self, value: Id, node: NodeId) -> Lifting<Id> {
        let range = self.builder.facts(value).array().range;
        let span = self.recurrence.node(node).span.clone();
        if range.lo < 0.0 {
            return Err(Refusal::unsupported(
                "a state factor that may be negative",
                span,
                format!("the range of this factor is {range}"),
                "declare ranges of the inputs from which it follows that the factor is in [0, 1]",
            ));
        }
        if range.hi > 1.0 {
            return Err(Refusal::unsafe_exponent(span, "this factor of the state", range, 1.0));
        }
        if range == Interval::point(range.lo) {
            return Ok(self.builder.number(range.lo.ln()));
        }
        Ok(self.builder.unary(Unary::Log, value))
    }

    /// Refuses an exponent whose range holds positive numbers.
    fn check_exponent(&self, node: NodeId, log: Id) -> Lifting<()> {
        let range = self.builder.facts(log).array().range;
        if range.hi <= 0.0 {
            return Ok(());
        }
        let span = self.recurrence.node(node).span.clone();
        let what = match self.recurrence.node(node).op {
            Op::Input(input) => format!("the log decay `{}`", self.recurrence.inputs[input.0].name),
            _ => "this log decay".to_owned(),
        };
        Err(Refusal::unsafe_exponent(span, &what, range, 0.0))
    }
}
