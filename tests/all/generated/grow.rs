//! Grows a random program: states with several statements each, and results read from them.
//!
//! Programs are well typed and well conditioned: what is erased is erased along vectors of norm 1 or
//! less and by factors of 1 or less, states fade and never swell, denominators stay away from 0.

use super::dice::Dice;
use super::setting::Setting;
use super::values::{Axis, Values};
use std::fmt::Write;

/// A program and what it is tried on.
#[derive(Clone, Debug)]
pub(super) struct Grown {
    pub(super) text: String,
    pub(super) setting: Setting,
    /// Whether it is one state, perhaps with its normaliser, of the class that has a chunked form.
    pub(super) chunks: bool,
}

/// The program with this number.
pub(super) fn grow(seed: usize) -> Grown {
    let mut dice = Dice::new(seed as u64);
    let setting = Setting::random(&mut dice, seed);
    let mut grower = Grower {
        values: Values::new(dice),
        body: String::new(),
        chunks: true,
        sequential: false,
        even: false,
    };
    let text = grower.program(seed);
    Grown { text, setting, chunks: grower.chunks }
}

/// A program as far as it is written.
pub(super) struct Grower {
    pub(super) values: Values,
    /// Statements so far.
    body: String,
    /// Whether every state is of the class that has a chunked form.
    pub(super) chunks: bool,
    /// Whether some state takes values that are not affine in it.
    pub(super) sequential: bool,
    /// Whether some state starts with equal values that are not 0.
    even: bool,
}

/// A state of two dimensions, as far as it is written.
struct Memory {
    /// Its name, then the names of what its statements make of it, then its name with a prime.
    versions: Vec<String>,
    rows: &'static str,
    columns: &'static str,
    order: &'static str,
    /// Another state: the sum of the keys, faded alike, and the key.
    normaliser: Option<String>,
}

/// One statement on a state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Fade(Side),
    Write,
    /// A write that depends on what the state holds, contracting its rows or columns.
    Feedback(Side),
}

/// What of a state a factor belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Whole,
    Rows,
    Columns,
}

impl Grower {
    fn program(&mut self, seed: usize) -> String {
        let count = self.values.dice.pick(&[1, 1, 1, 1, 1, 1, 2, 2, 2, 3]);
        let mut reads = Vec::new();
        for place in 0..count {
            let found = if self.values.dice.chance(if place == 0 { 8 } else { 25 }) {
                vec![self.other()]
            } else {
                self.memory()
            };
            if self.values.dice.chance(50) {
                self.values.read.extend(found.iter().cloned());
            }
            reads.extend(found);
        }
        // Several states may need each other's matrices at every token, which chunks do not have.
        self.chunks &= count == 1;
        let results = if self.values.dice.chance(20) { 2 } else { 1 };
        let mut outputs = Vec::new();
        // The last read depends on most.
        for (read, axis) in reads.iter().rev().take(results) {
            let output = self.values.name("o");
            let value = self.finish(read, *axis);
            self.say(&format!("{output} = {value}"));
            outputs.push(format!("{output}: [{}]", axis.unwrap_or_default()));
        }
        let head = self.values.head(&format!("generated_{seed}"), self.sequential);
        format!("{head} -> ({}) {{\n{}}}\n", outputs.join(", "), self.body)
    }

    pub(super) fn say(&mut self, statement: &str) {
        writeln!(self.body, "    {statement}").expect("writing to a string");
    }

    /// Gives a value a name, mostly.
    pub(super) fn named(&mut self, stem: &str, value: &str) -> String {
        if self.values.dice.chance(15) {
            return format!("({value})");
        }
        let name = self.values.name(stem);
        self.say(&format!("let {name} = {value}"));
        name
    }

    /// A state with its statements, and what is read from it.
    fn memory(&mut self) -> Vec<(String, Axis)> {
        let (rows, columns) = self.dimensions();
        let name = self.values.name("S");
        let (order, start) = (self.order(), self.start());
        self.say(&format!("state {name}: [{rows}, {columns}]{order} = {start}"));
        let versions = vec![name.clone()];
        let mut memory = Memory { versions, rows, columns, order, normaliser: None };
        let mut reads = Vec::new();
        if self.values.dice.chance(15) {
            reads.push(self.read(&memory));
        }
        let changes = self.changes();
        let normalised = changes[..] == [Change::Fade(Side::Whole), Change::Write]
            || changes[..] == [Change::Fade(Side::Rows), Change::Write]
            || changes[..] == [Change::Write];
        if normalised && self.values.dice.chance(40) {
            self.normalised(&mut memory, changes[0]);
        } else {
            self.apply(&mut memory, &changes);
        }
        memory.versions.push(format!("{name}'"));
        let count = self.values.dice.pick(&[1, 1, 2]);
        for _ in 0..count {
            reads.push(self.read(&memory));
        }
        reads
    }

    /// In which direction a state passes over the tokens.
    pub(super) fn order(&mut self) -> &'static str {
        if self.values.dice.chance(12) { " reverse" } else { "" }
    }

    /// What a state starts with where the caller gives nothing.
    pub(super) fn start(&mut self) -> &'static str {
        let even = self.values.dice.chance(10);
        self.even |= even;
        if even { "0.25" } else { "0" }
    }

    /// The last read of a two-pass program is along what the first one gives.
    fn dimensions(&mut self) -> (&'static str, &'static str) {
        match self.values.dice.weighed(&[70, 10, 10, 10]) {
            0 => ("K", "V"),
            1 => ("V", "K"),
            2 => ("K", "M"),
            _ => ("M", "V"),
        }
    }

    /// The statements of one step, in order.
    fn changes(&mut self) -> Vec<Change> {
        let dice = &mut self.values.dice;
        let feeds = match dice.weighed(&[45, 43, 12]) {
            0 => None,
            1 => Some(Side::Rows),
            _ => Some(Side::Columns),
        };
        let mut fades = match dice.weighed(&[12, 30, 30, 14, 14]) {
            0 => vec![],
            1 => vec![Side::Whole],
            2 => vec![Side::Rows],
            3 => vec![Side::Columns],
            _ => vec![Side::Rows, Side::Columns],
        };
        // A vector gate across the feedback is of another class: rarely wanted.
        let across = feeds.map(|side| if side == Side::Rows { Side::Columns } else { Side::Rows });
        if dice.chance(95) {
            fades.retain(|side| Some(*side) != across);
        }
        let fed = if feeds.is_some() { dice.pick(&[1, 1, 2]) } else { 0 };
        let written = dice.pick(if fed == 0 { &[1, 1, 1, 2] } else { &[0, 0, 1, 2] });
        let mut changes = vec![Change::Write; written];
        changes.extend(feeds.map(Change::Feedback).into_iter().cycle().take(fed));
        if fed > 0 && dice.chance(3) {
            changes.push(Change::Feedback(across.expect("there is feedback")));
            self.chunks = false;
        }
        self.chunks &= !fades.iter().any(|side| Some(*side) == across);
        dice.shuffle(&mut changes);
        let fades = fades.into_iter().map(Change::Fade);
        if dice.chance(75) {
            changes.splice(0..0, fades);
        } else {
            changes.extend(fades);
            dice.shuffle(&mut changes);
        }
        changes
    }

    /// Writes the statements of one step.
    fn apply(&mut self, memory: &mut Memory, changes: &[Change]) {
        let state = memory.versions[0].clone();
        let mut now = state.clone();
        for (i, change) in changes.iter().enumerate() {
            let next = match change {
                Change::Fade(side) => format!("{} * {now}", self.fade(memory, *side)),
                Change::Write => format!("{now} + {}", self.write(memory)),
                Change::Feedback(side) => self.feedback(memory, *side, &now),
            };
            if i + 1 == changes.len() {
                self.say(&format!("{state}' = {next}"));
            } else {
                now = self.named("D", &next);
                memory.versions.extend((!now.starts_with('(')).then(|| now.clone()));
            }
        }
        if changes.is_empty() {
            let write = self.write(memory);
            self.say(&format!("{state}' = {state} + {write}"));
        }
    }

    fn fade(&mut self, memory: &Memory, side: Side) -> String {
        self.values.gate(match side {
            Side::Whole => None,
            Side::Rows => Some(memory.rows),
            Side::Columns => Some(memory.columns),
        })
    }

    fn write(&mut self, memory: &Memory) -> String {
        let (rows, columns) = (Some(memory.rows), Some(memory.columns));
        let key = match self.values.dice.chance(20) {
            true => self.values.positive("k", rows),
            false => self.values.vector("k", rows),
        };
        let value = self.values.vector("v", columns);
        let outer = format!("outer({key}, {value})");
        if self.values.dice.chance(25) {
            return format!("{} * {outer}", self.values.strength());
        }
        outer
    }

    /// A write that takes back some of what the state holds along a vector.
    fn feedback(&mut self, memory: &Memory, side: Side, now: &str) -> String {
        let (near, far) = match side {
            Side::Columns => (Some(memory.columns), Some(memory.rows)),
            _ => (Some(memory.rows), Some(memory.columns)),
        };
        // Sometimes what the state held before the latest statements is what is taken back.
        let held = if self.values.dice.chance(20) {
            memory.versions[self.values.dice.below(memory.versions.len())].clone()
        } else {
            now.to_owned()
        };
        let key = self.values.unit("k", near);
        let outer = |near: &str, far: &str| match side {
            Side::Columns => format!("outer({far}, {near})"),
            _ => format!("outer({near}, {far})"),
        };
        let strength = self.values.strength();
        match self.values.dice.weighed(&[45, 15, 20, 10, 10]) {
            0 => {
                let value = self.values.vector("v", far);
                format!(
                    "{now} + {strength} * {}",
                    outer(&key, &format!("{value} - dot({key}, {held})"))
                )
            }
            1 => format!("{now} - {strength} * {}", outer(&key, &format!("dot({key}, {held})"))),
            2 => {
                let amount = self.values.input("a", near, "[0, 1]");
                format!(
                    "{now} - {}",
                    outer(&format!("{amount} * {key}"), &format!("dot({key}, {held})"))
                )
            }
            3 => {
                let other = self.values.unit("k", near);
                format!("{now} + 0.25 * {}", outer(&other, &format!("dot({key}, {held})")))
            }
            _ => {
                let (value, other) = (self.values.vector("v", far), self.values.unit("k", near));
                let error = format!("{value} - 0.25 * dot({other}, {held}) / (1 + {strength})");
                format!("{now} + {}", outer(&key, &error))
            }
        }
    }

    /// A faded sum of writes beside the sum of their keys.
    fn normalised(&mut self, memory: &mut Memory, first: Change) {
        let rows = Some(memory.rows);
        let gate = match first {
            Change::Fade(side) => {
                let gate = self.fade(memory, side);
                format!("{} * ", self.named("f", &gate))
            }
            _ => String::new(),
        };
        let (key, value) =
            (self.values.positive("k", rows), self.values.vector("v", Some(memory.columns)));
        let key = self.named("k", &key);
        let (state, sum) = (memory.versions[0].clone(), self.values.name("z"));
        self.say(&format!("state {sum}: [{}]{} = 0", memory.rows, memory.order));
        self.say(&format!("{sum}' = {gate}{sum} + {key}"));
        self.say(&format!("{state}' = {gate}{state} + outer({key}, {value})"));
        memory.normaliser = Some(format!("{sum}'"));
    }

    /// What a query finds in a version of a state.
    fn read(&mut self, memory: &Memory) -> (String, Axis) {
        let last = memory.versions.len() - 1;
        let place =
            if self.values.dice.chance(65) { last } else { self.values.dice.below(last + 1) };
        let version = memory.versions[place].clone();
        let (rows, columns) = (Some(memory.rows), Some(memory.columns));
        if let Some(sum) = memory.normaliser.clone().filter(|_| place == last) {
            let query = self.values.positive("q", rows);
            let query = self.named("q", &query);
            let weight = self.named("n", &format!("dot({query}, {sum})"));
            let value = format!("dot({query}, {version}) / max(abs({weight}), 1)");
            return (self.named("r", &value), columns);
        }
        if self.values.dice.chance(15) {
            let query = self.values.vector("q", columns);
            return (self.named("r", &format!("dot({version}, {query})")), rows);
        }
        let query = self.values.vector("q", rows);
        let value = format!("dot({query}, {version})");
        let scale = if self.values.dice.chance(25) {
            format!(" * rsqrt({})", memory.rows)
        } else {
            String::new()
        };
        (self.named("r", &(value + &scale)), columns)
    }

    /// What becomes of a read before it leaves the program.
    fn finish(&mut self, read: &str, axis: Axis) -> String {
        match self.values.dice.weighed(&[40, 8, 6, 10, 10, 6, 10, 10]) {
            1 => format!("rmsnorm({read})"),
            // Equal values differ from their mean by nothing but rounding.
            2 if !self.even => format!("layernorm({read})"),
            3 => format!("{read} * silu({})", self.values.input("x", axis, "")),
            4 => format!(
                "{read} + {} * {}",
                self.values.strength(),
                self.values.input("x", axis, "")
            ),
            5 => format!("sigmoid({read})"),
            6 => {
                // The bonus of the present token.
                let (q, k) =
                    (self.values.vector("q", Some("K")), self.values.vector("k", Some("K")));
                let v = self.values.vector("v", axis);
                format!("{read} + dot({q}, {k}) * {v}")
            }
            7 => match self.values.read.iter().find(|r| r.1 == axis && r.0 != read).cloned() {
                Some((other, _)) => format!("{read} + {other}"),
                None => format!("2 * {read}"),
            },
            _ => read.to_owned(),
        }
    }
}
