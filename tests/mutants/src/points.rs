//! Finds the places of a source file where one small mistake can be made, each with the text that makes it.
//!
//! A mistake is chosen at run time, so its text holds both: `a < b` becomes
//! `(if crate::mutants::is(7) { (a) <= (b) } else { a < b })`. Not looked at: code under `#[cfg(test)]`, constants,
//! types, patterns, arguments of macros (so no `assert!`), and what exists for tests or people to read alone
//! (`check_invariants`, `Debug`, `Display`).

use proc_macro2::Span;
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, Lit, ReturnType, Stmt, Type, UnOp};

/// A part of the text that stands for the place of a mistake.
#[derive(Clone, PartialEq, Debug)]
pub enum Piece {
    Text(String),
    /// `crate::mutants::is(number)`.
    Chosen,
    /// What stood there, with the other mistakes in it.
    Source(Range<usize>),
}

/// One place, and one mistake that can be made there.
#[derive(Clone, Debug)]
pub struct Point {
    /// Bytes of the file that are replaced; none where something is put in.
    pub range: Range<usize>,
    pub line: usize,
    pub column: usize,
    /// What kind of mistake, for the record's table.
    pub kind: &'static str,
    /// What stood there and what stands there instead, in one line.
    pub what: String,
    pub pieces: Vec<Piece>,
}

/// Every mistake that can be made in a file, in the order of the file.
pub fn points(source: &str) -> syn::Result<Vec<Point>> {
    let file = syn::parse_file(source)?;
    let mut finder = Finder {
        source,
        found: Vec::new(),
    };
    finder.visit_file(&file);
    let mut found = finder.found;
    found.sort_by_key(|point| (point.range.start, point.range.end));
    Ok(found)
}

struct Finder<'a> {
    source: &'a str,
    found: Vec<Point>,
}

/// Methods that are easily mistaken for each other.
const SIBLINGS: [(&str, &str); 14] = [
    ("min", "max"),
    ("max", "min"),
    ("any", "all"),
    ("all", "any"),
    ("is_some", "is_none"),
    ("is_none", "is_some"),
    ("is_some_and", "is_none_or"),
    ("is_none_or", "is_some_and"),
    ("push_back", "push_front"),
    ("pop_front", "pop_back"),
    ("front", "back"),
    ("first", "last"),
    ("saturating_sub", "saturating_add"),
    ("saturating_add", "saturating_sub"),
];

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

impl Finder<'_> {
    fn add(
        &mut self,
        kind: &'static str,
        at: Span,
        range: Range<usize>,
        what: String,
        pieces: Vec<Piece>,
    ) {
        let start = at.start();
        self.found.push(Point {
            range,
            line: start.line,
            column: start.column + 1,
            kind,
            what,
            pieces,
        });
    }

    /// The source between two bytes, in one line.
    fn short(&self, range: Range<usize>) -> String {
        let words: Vec<&str> = self.source[range].split_whitespace().collect();
        let line = words.join(" ");
        match line.char_indices().nth(90) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// An expression, or instead of it another one that is made of `mutated`.
    fn instead(&mut self, kind: &'static str, expr: &Expr, what: String, mutated: Vec<Piece>) {
        let range = expr.span().byte_range();
        let mut pieces = vec![text("(if "), Piece::Chosen, text(" { ")];
        pieces.extend(mutated);
        pieces.extend([
            text(" } else { "),
            Piece::Source(range.clone()),
            text(" })"),
        ]);
        self.add(kind, expr.span(), range, what, pieces);
    }

    fn binary(&mut self, expr: &Expr, binary: &syn::ExprBinary) {
        let others: &[(&'static str, &str)] = match binary.op {
            BinOp::Lt(_) => &[("comparison", "<="), ("comparison", ">=")],
            BinOp::Le(_) => &[("comparison", "<"), ("comparison", ">")],
            BinOp::Gt(_) => &[("comparison", ">="), ("comparison", "<=")],
            BinOp::Ge(_) => &[("comparison", ">"), ("comparison", "<")],
            BinOp::Eq(_) => &[("comparison", "!=")],
            BinOp::Ne(_) => &[("comparison", "==")],
            BinOp::Add(_) => &[("arithmetic", "-")],
            BinOp::Sub(_) => &[("arithmetic", "+")],
            BinOp::Mul(_) => &[("arithmetic", "+")],
            BinOp::Div(_) => &[("arithmetic", "*")],
            BinOp::And(_) if !has_let(expr) => &[("and, or", "||")],
            BinOp::Or(_) if !has_let(expr) => &[("and, or", "&&")],
            BinOp::AddAssign(_) => &[("assignment", "-=")],
            BinOp::SubAssign(_) => &[("assignment", "+=")],
            BinOp::BitOrAssign(_) => &[("assignment", "&=")],
            _ => &[],
        };
        let (left, right) = (
            binary.left.span().byte_range(),
            binary.right.span().byte_range(),
        );
        for (kind, other) in others {
            let (open, middle) = match *kind {
                "assignment" => ("", format!(" {other} (")),
                _ => ("(", format!(") {other} (")),
            };
            let what = format!("`{}`: `{other}`", self.short(expr.span().byte_range()));
            let mutated = vec![
                text(open),
                Piece::Source(left.clone()),
                Piece::Text(middle),
                Piece::Source(right.clone()),
                text(")"),
            ];
            self.instead(kind, expr, what, mutated);
        }
    }

    fn literal(&mut self, expr: &Expr, lit: &Lit) {
        let was = self.short(expr.span().byte_range());
        match lit {
            Lit::Bool(lit) => {
                let put = (!lit.value).to_string();
                self.instead(
                    "true, false",
                    expr,
                    format!("`{was}`: `{put}`"),
                    vec![text(&put)],
                );
            }
            Lit::Int(lit) => {
                if let Ok(value) = lit.base10_parse::<u64>() {
                    let put = format!("{}{}", value + 1, lit.suffix());
                    self.instead(
                        "number",
                        expr,
                        format!("`{was}`: `{put}`"),
                        vec![text(&put)],
                    );
                }
            }
            _ => {}
        }
    }

    /// The condition of an `if`, of a `while` or of an arm that always holds, or never.
    fn condition(&mut self, condition: &Expr, always_too: bool) {
        if has_let(condition) {
            return;
        }
        let range = condition.span().byte_range();
        let was = self.short(range.clone());
        let whole = || vec![Piece::Source(range.clone()), text("))")];
        let mut never = vec![text("(!"), Piece::Chosen, text(" && (")];
        never.extend(whole());
        self.add(
            "condition",
            condition.span(),
            range.clone(),
            format!("`{was}`: never"),
            never,
        );
        if always_too {
            let mut always = vec![text("("), Piece::Chosen, text(" || (")];
            always.extend(whole());
            self.add(
                "condition",
                condition.span(),
                range.clone(),
                format!("`{was}`: always"),
                always,
            );
        }
    }

    /// A function that returns at once.
    fn function(&mut self, name: &syn::Ident, output: &ReturnType, block: &Block) {
        if block.stmts.is_empty() {
            return;
        }
        let inside = block.span().byte_range();
        let body = self.source[inside.start + 1..inside.end - 1].trim();
        let values: &[&str] = match output {
            ReturnType::Default => &[""],
            ReturnType::Type(_, kind) => match &**kind {
                Type::Path(path) => {
                    let last = path.path.segments.last().expect("a path has a segment");
                    match last.ident.to_string().as_str() {
                        "bool" => &["true", "false"],
                        "Option" => &["None"],
                        "usize" | "u64" | "u32" | "u16" | "u8" => &["0"],
                        "Vec" => &["Vec::new()"],
                        "Result"
                            if self
                                .short(last.span().byte_range())
                                .starts_with("Result<(),") =>
                        {
                            &["Ok(())"]
                        }
                        _ => &[],
                    }
                }
                _ => &[],
            },
        };
        for value in values.iter().filter(|value| body != **value) {
            let what = format!("`fn {name}`: `return {value}` at its beginning");
            let place = inside.start + 1..inside.start + 1;
            let put = Piece::Text(format!(" {{ return {value}; }} "));
            self.add(
                "early return",
                name.span(),
                place,
                what,
                vec![text(" if "), Piece::Chosen, put],
            );
        }
    }
}

/// Whether a condition has a `let` of its own, not one in a closure or a block.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        Expr::Paren(paren) => has_let(&paren.expr),
        _ => false,
    }
}

/// Whether an item is compiled for tests alone, or a part of it.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let under = |name| attribute.path().is_ident(name);
        let words = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string(),
            _ => String::new(),
        };
        under("test") || (under("cfg") && words == "test")
    })
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Mod(module) if for_tests(&module.attrs) => {}
            syn::Item::Fn(function) if for_tests(&function.attrs) => {}
            syn::Item::Impl(block) if for_tests(&block.attrs) => {}
            syn::Item::Impl(block)
                if block.trait_.as_ref().is_some_and(|(_, path, _)| {
                    let last = path.segments.last().expect("a path has a segment");
                    last.ident == "Debug" || last.ident == "Display"
                }) => {}
            syn::Item::Const(_) | syn::Item::Static(_) | syn::Item::Macro(_) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let signature = &function.sig;
        if signature.constness.is_none()
            && !signature.ident.to_string().starts_with("check_invariants")
        {
            self.function(&signature.ident, &signature.output, &function.block);
            self.visit_block(&function.block);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        let signature = &function.sig;
        let looks_on = signature.ident.to_string().starts_with("check_invariants");
        if signature.constness.is_none() && !looks_on && !for_tests(&function.attrs) {
            self.function(&signature.ident, &signature.output, &function.block);
            self.visit_block(&function.block);
        }
    }

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}

    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}

    fn visit_type(&mut self, _: &'ast Type) {}

    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}

    fn visit_pat(&mut self, _: &'ast syn::Pat) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.condition(guard, true);
        }
        visit::visit_arm(self, arm);
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if let Stmt::Expr(expr, Some(_)) = statement {
            let called = match expr {
                Expr::Try(tried) => &*tried.expr,
                _ => expr,
            };
            if matches!(
                called,
                Expr::MethodCall(_) | Expr::Call(_) | Expr::Assign(_)
            ) {
                let range = statement.span().byte_range();
                let what = format!("`{}`: dropped", self.short(range.clone()));
                let pieces = vec![
                    text("if !"),
                    Piece::Chosen,
                    text(" { "),
                    Piece::Source(range.clone()),
                    text(" }"),
                ];
                self.add("statement", statement.span(), range, what, pieces);
            }
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::Binary(binary) => self.binary(expr, binary),
            Expr::Lit(literal) => self.literal(expr, &literal.lit),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                let what = format!("`{}`: without `!`", self.short(expr.span().byte_range()));
                let inner = Piece::Source(unary.expr.span().byte_range());
                self.instead("not", expr, what, vec![inner]);
            }
            Expr::If(chosen) => self.condition(&chosen.cond, true),
            Expr::While(repeated) => self.condition(&repeated.cond, false),
            Expr::MethodCall(call) => {
                let name = call.method.to_string();
                if let Some((_, other)) = SIBLINGS.iter().find(|(one, _)| *one == name) {
                    let what = format!("`{}`: `{other}`", self.short(expr.span().byte_range()));
                    let (whole, method) =
                        (expr.span().byte_range(), call.method.span().byte_range());
                    let mutated = vec![
                        Piece::Source(whole.start..method.start),
                        text(other),
                        Piece::Source(method.end..whole.end),
                    ];
                    self.instead("method", expr, what, mutated);
                }
            }
            Expr::Const(_) => return,
            _ => {}
        }
        visit::visit_expr(self, expr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(source: &str) -> Vec<String> {
        let points = points(source).expect("it is Rust");
        points
            .into_iter()
            .map(|point| format!("{}: {}", point.line, point.what))
            .collect()
    }

    #[test]
    fn each_kind_is_found() {
        let source = "fn f(a: u32, b: &mut S) -> bool {\n    if a < 3 && !b.is_empty() {\n        b.list.clear();\n    }\n    b.n += a.min(9);\n    true\n}\n";
        let found = whats(source);
        for what in [
            "1: `fn f`: `return true` at its beginning",
            "1: `fn f`: `return false` at its beginning",
            "2: `a < 3`: `<=`",
            "2: `a < 3`: `>=`",
            "2: `3`: `4`",
            "2: `a < 3 && !b.is_empty()`: `||`",
            "2: `a < 3 && !b.is_empty()`: never",
            "2: `a < 3 && !b.is_empty()`: always",
            "2: `!b.is_empty()`: without `!`",
            "3: `b.list.clear();`: dropped",
            "5: `b.n += a.min(9)`: `-=`",
            "5: `a.min(9)`: `max`",
            "5: `9`: `10`",
            "6: `true`: `false`",
        ] {
            assert!(
                found.iter().any(|found| found == what),
                "{what} in {found:#?}"
            );
        }
        assert_eq!(found.len(), 14, "{found:#?}");
    }

    #[test]
    fn what_is_no_code_of_the_broker_is_left_alone() {
        let source = "const A: u32 = 1 + 2;\n\
            #[cfg(test)]\nmod tests { fn f() { g(1 + 1); } }\n\
            #[cfg(test)]\nfn only_here() { g(2); }\n\
            impl S { const B: u32 = 3; fn check_invariants(&self) { g(4); } }\n\
            impl Debug for S { fn fmt(&self) { g(5); } }\n\
            fn f(x: [u8; 6]) { assert!(x[0] < 7); match x[1] { 8 => {} _ => {} } }\n";
        // An index and the function itself are what is left, and of those the index in the macro is not.
        assert_eq!(
            whats(source),
            ["8: `fn f`: `return ` at its beginning", "8: `1`: `2`"]
        );
    }

    #[test]
    fn a_condition_with_let_keeps_its_form() {
        let found = whats("fn f() { if let Some(n) = g() && n == h() { k(); } }\n");
        assert!(
            !found
                .iter()
                .any(|what| what.contains("||") || what.contains("never")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|what| what.ends_with("`n == h()`: `!=`")),
            "{found:?}"
        );
    }
}
