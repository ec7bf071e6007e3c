//! Dimensions: what their names stand for, their sizes, and what can be proved of sizes.

use super::files::whole;
use super::program::{Program, Scope, Symbol};
use crate::ast::{DimDecl, Expr, ExprKind, Infix, Name, Shape};
use crate::suggest::did_you_mean;
use sluice_ir::diagnostic::{Code, Diagnostic, Span};
use sluice_ir::step::{Dim, DimId, Formula, MAX_RANK};

/// Whether a dimension that is not known yet is thereby declared.
#[derive(Clone, Copy)]
pub(super) enum NewDims {
    Declare,
    Refuse,
}

/// Sizes for open dimensions on which statements about sizes are tried: the `i`th is
/// `base + step * i`, in the order of the dimensions and against it. Large ones have many divisors,
/// since formulas may divide.
const TRIALS: [(usize, usize); 6] = [(1, 0), (2, 1), (5, 3), (24, 12), (720, 240), (27_720, 5_040)];

impl Program<'_> {
    /// What a name stands for in a scope; dimensions that a file declares are known everywhere in it
    /// and join the program at their first use.
    pub(super) fn resolve(&mut self, scope: &Scope, name: &str) -> Option<Symbol> {
        if let Some(symbol) = scope.get(name) {
            return Some(symbol);
        }
        let decl = *self.files.0[scope.file].dims.get(name)?;
        Some(self.declared_dim(scope, decl).map_or(Symbol::Broken, Symbol::Dim))
    }

    /// The dimension that a declaration means in a scope, where its formula may have its own meaning.
    pub(super) fn declared_dim(&mut self, scope: &Scope, decl: &DimDecl) -> Option<DimId> {
        let (size, formula) = self.declared_size(scope, decl)?;
        Some(self.instance(&decl.name.text, size, formula))
    }

    /// The number or the formula of a declaration in a scope.
    pub(super) fn declared_size(
        &mut self,
        scope: &Scope,
        decl: &DimDecl,
    ) -> Option<(Option<usize>, Option<Formula>)> {
        let Some(source) = &decl.size else { return Some((None, None)) };
        let formula = self.deeper(&decl.span, |p| p.formula(scope, source))?;
        if has_names(&formula) {
            return Some((None, Some(formula)));
        }
        let value = formula.eval(&|_| None).filter(|n| *n > 0);
        if value.is_none() {
            let message = format!("the size of `{}` is no whole number from 1", decl.name.text);
            let error = Diagnostic::new(Code::ShapeMismatch, message)
                .at(source.span.clone(), "")
                .with_help("a size is a whole number from 1; a quotient must come out even");
            self.report(error);
        }
        value.map(|n| (Some(n), None))
    }

    fn formula(&mut self, scope: &Scope, expr: &Expr) -> Option<Formula> {
        match &expr.kind {
            ExprKind::Number(number) => whole(number.value).map(Formula::Number),
            ExprKind::Infix(infix, a, b) => {
                let (a, b) = (self.formula(scope, a), self.formula(scope, b));
                let (a, b) = (Box::new(a?), Box::new(b?));
                Some(match infix {
                    Infix::Add => Formula::Add(a, b),
                    Infix::Sub => Formula::Sub(a, b),
                    Infix::Mul => Formula::Mul(a, b),
                    _ => Formula::Div(a, b),
                })
            }
            ExprKind::Name(name) => {
                let name = Name { text: name.clone(), span: expr.span.clone() };
                self.known_dim(scope, &name).map(Formula::Dim)
            }
            _ => None,
        }
    }

    /// The dimension of that name and size, new or not. Different ones that files call by one name get
    /// numbers behind it.
    fn instance(&mut self, base: &str, size: Option<usize>, formula: Option<Formula>) -> DimId {
        let dims = &mut self.recurrence.dims;
        let same = |(i, dim): &(usize, &Dim)| {
            self.dim_bases[*i] == base && dim.size == size && dim.formula == formula
        };
        if let Some((known, _)) = dims.iter().enumerate().find(same) {
            return DimId(known);
        }
        let taken = |name: &str| dims.iter().any(|d| d.name == name);
        let name = match taken(base) {
            false => base.to_owned(),
            true => (1..)
                .map(|n| format!("{base}_{n}"))
                .find(|name| !taken(name))
                .expect("some number is free"),
        };
        dims.push(Dim { name, size, formula });
        self.dim_bases.push(base.to_owned());
        DimId(dims.len() - 1)
    }

    /// A dimension that must be known already.
    pub(super) fn known_dim(&mut self, scope: &Scope, name: &Name) -> Option<DimId> {
        match self.resolve(scope, &name.text) {
            Some(Symbol::Dim(id)) => return Some(id),
            Some(Symbol::Broken) => return None,
            _ => {}
        }
        let known = self.recurrence.dims.iter().map(|d| d.name.as_str());
        let help = did_you_mean(&name.text, known).unwrap_or_else(|| match scope.function {
            true => "a function knows the dimensions that its parameters name".to_owned(),
            false => format!(
                "a dimension appears first in an input or a state, or is declared by `dim {}`",
                name.text
            ),
        });
        let error =
            Diagnostic::new(Code::UnknownName, format!("unknown dimension `{}`", name.text));
        self.report(error.at(name.span.clone(), "").with_help(help));
        None
    }

    /// The dimensions of a declared shape.
    pub(super) fn shape(
        &mut self,
        scope: &mut Scope,
        source: &Shape,
        new: NewDims,
    ) -> Option<Vec<DimId>> {
        let dims: Vec<Option<DimId>> =
            source.dims.iter().map(|name| self.dim(scope, name, new)).collect();
        let dims: Vec<DimId> = dims.into_iter().collect::<Option<_>>()?;
        self.check_shape(&dims, &source.span)?;
        Some(dims)
    }

    /// At most three dimensions, all different.
    pub(super) fn check_shape(&mut self, dims: &[DimId], at: &Span) -> Option<()> {
        let twice = dims.iter().enumerate().any(|(i, d)| dims[..i].contains(d));
        let problem = if dims.len() > MAX_RANK {
            "a value has at most three dimensions"
        } else if twice {
            "a shape names a dimension twice"
        } else {
            return Some(());
        };
        let error = Diagnostic::new(Code::ShapeMismatch, problem).at(at.clone(), "").with_help(
            "write `[]` for a scalar, `[K]` for a vector, `[K, V]` for a matrix; `dim M = K` \
             declares a second dimension of one size",
        );
        self.report(error);
        None
    }

    fn dim(&mut self, scope: &mut Scope, name: &Name, new: NewDims) -> Option<DimId> {
        match (self.resolve(scope, &name.text), new) {
            (Some(Symbol::Dim(id)), _) => Some(id),
            (None, NewDims::Declare) => {
                let id = self.instance(&name.text, None, None);
                self.declare(scope, name, Symbol::Dim(id));
                Some(id)
            }
            (Some(Symbol::Broken), _) => None,
            (Some(_), NewDims::Declare) => {
                self.declare(scope, name, Symbol::Broken);
                None
            }
            (_, NewDims::Refuse) => self.known_dim(scope, name),
        }
    }

    /// Whether something holds for the sizes of all dimensions, whatever those left open are; `None`
    /// stands for sizes that a formula does not admit. Formulas are polynomials and quotients of low
    /// degree, so a few sizes tell those that differ apart.
    pub(super) fn always(&self, holds: impl Fn(&dyn Fn(DimId) -> usize) -> bool) -> bool {
        let mut tried = false;
        let count = self.recurrence.dims.len();
        for (base, step, descending) in
            TRIALS.iter().flat_map(|t| [(t.0, t.1, false), (t.0, t.1, true)])
        {
            let mut sizes: Vec<usize> = Vec::new();
            for (i, dim) in self.recurrence.dims.iter().enumerate() {
                let place = if descending { count - i } else { i };
                let size = match &dim.formula {
                    Some(formula) => formula.eval(&|d| sizes.get(d.0).copied()),
                    None => Some(dim.size.unwrap_or(base + step * place)),
                };
                match size.filter(|n| *n > 0) {
                    Some(size) => sizes.push(size),
                    None => break,
                }
            }
            if sizes.len() < self.recurrence.dims.len() {
                continue;
            }
            tried = true;
            if !holds(&|d: DimId| sizes[d.0]) {
                return false;
            }
        }
        tried
    }
}

fn has_names(formula: &Formula) -> bool {
    match formula {
        Formula::Number(_) => false,
        Formula::Dim(_) => true,
        Formula::Add(a, b) | Formula::Sub(a, b) | Formula::Mul(a, b) | Formula::Div(a, b) => {
            has_names(a) || has_names(b)
        }
    }
}
