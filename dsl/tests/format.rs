//! The standard layout: what it looks like, and that nothing gets lost.

use sluice_dsl::{format, lower, parse};

const UNTIDY: &str = "\
#!first line
/// Doc of F.
dim   F=16   # size


/// A map.
fn phi ( x:[K] )->[K]{ let y = x*x   # square
  # result
  (y)+(1)
}
fn twice(x){SPLIT}
/// Two   words.
///
/// Second paragraph.
recurrence  test(q:[K]by group,k:[K],
  # about v
  v:[V]f32,   param g:[]f32 in(-inf,0],# gate
  /// doc of w
  w:[V] in [ -1 , 1e-6 )  # last
)->( o:[V] bf16 , ) # outputs
{

  state S:[K,V]=0 # S
  state z:[K]
  # inside


  let D=exp(g)*S
  S'=(D+(outer(phi(k),v)))*-((w)*-w) # update
  z'=-(z+k)-(k-(z-k))
  o=dot( # moved
     q,S')/(sum(k)/sum(q))
  # end
}
# last
";

const TIDY: &str = "\
#!first line
/// Doc of F.
dim F = 16  # size

/// A map.
fn phi(x: [K]) -> [K] {
    let y = x * x  # square
    # result
    y + 1
}
fn twice(x) = x * 2
/// Two   words.
///
/// Second paragraph.
recurrence test(
    q: [K] by group, k: [K],
    # about v
    v: [V] f32, param g: [] f32 in (-inf, 0],  # gate
    /// doc of w
    w: [V] in [-1, 1e-6),  # last
) -> o: [V] bf16 {  # outputs
    state S: [K, V] = 0  # S
    state z: [K]
    # inside

    let D = exp(g) * S
    S' = (D + outer(phi(k), v)) * -(w * -w)  # update
    z' = -(z + k) - (k - (z - k))
    # moved
    o = dot(q, S') / (sum(k) / sum(q))
    # end
}
# last
";

#[test]
fn an_untidy_text_becomes_tidy_and_stays_so() {
    let untidy = UNTIDY.replace("{SPLIT}", "{ ((x)) *2 }");
    assert_eq!(format(&untidy).as_deref(), Ok(TIDY));
    assert_eq!(format(TIDY).as_deref(), Ok(TIDY));
}

#[test]
fn every_comment_is_kept_once() {
    let untidy = UNTIDY.replace("{SPLIT}", "{ ((x)) *2 }");
    let comments = |text: &str| {
        let ast = parse(text).expect("the text is valid");
        let mut found: Vec<String> =
            ast.comments.into_iter().map(|at| text[at].to_owned()).collect();
        found.sort_unstable();
        found
    };
    let formatted = format(&untidy).expect("the text is valid");
    assert_eq!(comments(&formatted), comments(&untidy));
}

#[test]
fn the_meaning_is_kept() {
    let untidy = UNTIDY.replace("{SPLIT}", "{ ((x)) *2 }");
    let steps = |text: &str| {
        let programs = parse(text).and_then(|ast| lower(&ast)).expect("the text is valid");
        programs[0].to_string()
    };
    assert_eq!(steps(TIDY), steps(&untidy));
    // Without its parentheses the last line would continue the one before it.
    let negative = "fn f(x) {\n    let y = x\n    (-y)\n}\nrecurrence r(x: [V]) -> o: [V] {\n    o = f(x)\n}\n";
    assert_eq!(format(negative).as_deref(), Ok(negative));
}

#[test]
fn a_long_sum_is_broken_before_its_operators() {
    let term = "dot(first_key, first_state) * second_factor";
    let text = format!("recurrence r(x: [V]) -> o: [V] {{\n    o = {term} + {term} - {term}\n}}\n");
    let expected = format!(
        "recurrence r(x: [V]) -> o: [V] {{\n    o = {term}\n        + {term}\n        - {term}\n}}\n"
    );
    assert_eq!(format(&text).as_deref(), Ok(expected.as_str()));
    assert_eq!(format(&expected).as_deref(), Ok(expected.as_str()));
}

#[test]
fn windows_line_ends_and_an_empty_file_are_accepted() {
    let text = "# a\r\nrecurrence r(x: [V]) -> o: [V] {\r\n    o = x # b\r\n}\r\n";
    let expected = "# a\nrecurrence r(x: [V]) -> o: [V] {\n    o = x  # b\n}\n";
    assert_eq!(format(text).as_deref(), Ok(expected));
    assert_eq!(format("").as_deref(), Ok(""));
}

const UNTIDY_LANGUAGE: &str = "\
use   ssd  # other
dim  D
dim F=1+D  *(D+ 2)/ 4
/// Two words.
sequential   recurrence r( x:complex[D],param Z : [ D ])->( /// The first.
 o : complex [D] , p:[F] f32 # second
 ){
/// Counts.
state n:[] in[0,inf)reverse=0
state G:[D] columns( W )
 state H:complex[D]reverse columns(W)=Z # from Z
 window B:[W,D]=re( x )+1
let (a,b,)=reverse  pair(x,theta=2*x , # inside
 y=(A))
n'=reverse  count( )
 let c=spread(x,[ A,B , ])
}
";

const TIDY_LANGUAGE: &str = "\
use ssd  # other
dim D
dim F = 1 + D * (D + 2) / 4
/// Two words.
sequential recurrence r(x: complex [D], param Z: [D]) -> (
    /// The first.
    o: complex [D],
    p: [F] f32,  # second
) {
    /// Counts.
    state n: [] in [0, inf) reverse = 0
    state G: [D] columns(W)
    state H: complex [D] reverse columns(W) = Z  # from Z
    window B: [W, D] = re(x) + 1
    # inside
    let (a, b) = reverse pair(x, theta = 2 * x, y = A)
    n' = reverse count()
    let c = spread(x, [A, B])
}
";

#[test]
fn every_construct_has_a_layout() {
    assert_eq!(format(UNTIDY_LANGUAGE).as_deref(), Ok(TIDY_LANGUAGE));
    assert_eq!(format(TIDY_LANGUAGE).as_deref(), Ok(TIDY_LANGUAGE));
    let broken = TIDY_LANGUAGE.replace("r(x: complex [D], ", "r(\n    x: complex [D],\n    ");
    let broken = broken.replace("[D]) -> (", "[D],\n) -> (");
    assert_eq!(format(&broken), Ok(broken));
}

/// Found by fuzzing: pest's own notion of a line end knows a carriage return alone, the layout does not.
#[test]
fn a_carriage_return_alone_is_a_space() {
    // In a comment and in documentation, where the rest of the line would become source.
    let text = "# a \r\rdim F = 0\n/// b \rdim G = 1\r\ndim\rH = 2 \r# c\r\r\n";
    let expected = "# a \r\rdim F = 0\n/// b \rdim G = 1\ndim H = 2  # c\n";
    assert_eq!(format(text).as_deref(), Ok(expected));
    assert_eq!(format(expected).as_deref(), Ok(expected));
    // Before a bracket, which the next line may begin with.
    let called = "recurrence r(x: [V]) -> o: [V] {\n    let y = exp\r(x)\n    o = y\n}\n";
    assert_eq!(format(called), Ok(called.replace("exp\r", "exp")));
    // In a line that is no statement: the next line is a fault of its own.
    let broken = "recurrence r(x: [V]) -> o: [V] {\n    state\r= 1\n    o = x\n}\n";
    let errors = parse(broken).expect_err("a state needs a name");
    assert_eq!(errors.len(), 1, "{errors:?}");
}

/// A documentation line may stand behind other text, and may hold the sign of a comment.
#[test]
fn documentation_behind_other_text_holds_no_comment() {
    let text = "recurrence r(x: [V]) -> ( /// No. #1\n o: [V]) {\n o = x\n}\n";
    let expected = "recurrence r(x: [V]) -> (\n    /// No. #1\n    o: [V],\n) {\n    o = x\n}\n";
    assert_eq!(format(text).as_deref(), Ok(expected));
    assert_eq!(format(expected).as_deref(), Ok(expected));
}

#[test]
fn a_comment_behind_a_sign_is_moved_before_the_input() {
    let text = "recurrence r(x: [V] in [- # low\n 1, 1]) -> o: [V] {\n o = x\n}\n";
    let expected =
        "recurrence r(\n    # low\n    x: [V] in [-1, 1],\n) -> o: [V] {\n    o = x\n}\n";
    assert_eq!(format(text).as_deref(), Ok(expected));
    assert_eq!(format(expected).as_deref(), Ok(expected));
}
