//! Functions of the policy language. Their arguments are checked when the policy is parsed.

use evalexpr::{Node as Tree, Operator as Sign};

use super::compile::{Compiler, Kind, Lowered};
use super::error::PolicyError;
use super::program::{Affix, Call, Operation, OperationId, Relation};

#[derive(Debug, Clone, Copy)]
enum Function {
    Semver,
    SemverMatches,
    StartsWith,
    EndsWith,
    Contains,
    Matches,
    Exists,
    In,
    Lower,
}

impl Function {
    const ALL: [Function; 9] = [
        Function::Semver,
        Function::SemverMatches,
        Function::StartsWith,
        Function::EndsWith,
        Function::Contains,
        Function::Matches,
        Function::Exists,
        Function::In,
        Function::Lower,
    ];

    fn name(self) -> &'static str {
        match self {
            Function::Semver => "semver",
            Function::SemverMatches => "semver_matches",
            Function::StartsWith => "starts_with",
            Function::EndsWith => "ends_with",
            Function::Contains => "contains",
            Function::Matches => "matches",
            Function::Exists => "exists",
            Function::In => "in",
            Function::Lower => "lower",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Function::Semver => "semver(version, \"<\", other)",
            Function::SemverMatches => "semver_matches(version, \"^1.2\")",
            Function::StartsWith => "starts_with(text, start)",
            Function::EndsWith => "ends_with(text, end)",
            Function::Contains => "contains(text or list, part)",
            Function::Matches => "matches(text, \"glob*\")",
            Function::Exists => "exists(attribute)",
            Function::In => "in(value, one, another, …)",
            Function::Lower => "lower(text)",
        }
    }
}

/// Argument of a function: a value, or the values of a list in parentheses.
enum Argument {
    One(Lowered),
    List(Vec<Lowered>, Lowered),
}

impl Compiler<'_> {
    pub(super) fn lower_call(&mut self, name: &str, children: &[Tree]) -> Result<Lowered, PolicyError> {
        let Some(function) = Function::ALL.into_iter().find(|function| function.name() == name) else {
            let known = Function::ALL.map(Function::name).join(", ");
            return Err(self.refuse_next(format!("there is no function {name}; there are {known}")));
        };
        let [argument_tree] = children else {
            return Err(self.mismatch());
        };
        let arity = self.refuse_next(format!("{name} is called as {}", function.usage()));
        let first = self.advance();
        let mut arguments = Vec::new();
        for tree in arguments_of(argument_tree) {
            arguments.push(self.lower_argument(function, tree)?);
        }
        let (operation, kind) = self.call(function, arguments, arity)?;
        let extent = self.extent_since(first);
        Ok(self.push(operation, kind, extent))
    }

    fn lower_argument(&mut self, function: Function, tree: &Tree) -> Result<Argument, PolicyError> {
        let elements = match list_in(tree) {
            Some(elements) if matches!(function, Function::In | Function::Contains) => elements,
            _ => return Ok(Argument::One(self.lower(tree)?)),
        };
        let mut lowered = Vec::with_capacity(elements.len());
        for element in elements {
            lowered.push(self.lower(element)?);
        }
        match lowered.first().copied() {
            Some(first) => Ok(Argument::List(lowered, first)),
            None => Err(self.mismatch()),
        }
    }

    fn call(
        &mut self,
        function: Function,
        arguments: Vec<Argument>,
        arity: PolicyError,
    ) -> Result<(Operation, Kind), PolicyError> {
        use Argument::{List, One};
        let call = match (function, arguments.as_slice()) {
            (Function::Semver, [One(left), One(relation), One(right)]) => self.semver(*left, *relation, *right)?,
            (Function::SemverMatches, [One(version), One(requirement)]) => {
                self.semver_matches(*version, *requirement)?
            }
            (Function::StartsWith, [One(text), One(part)]) => self.affix(function, Affix::Start, *text, *part)?,
            (Function::EndsWith, [One(text), One(part)]) => self.affix(function, Affix::End, *text, *part)?,
            (Function::Contains, [One(whole), One(part)]) => {
                self.expect_text_or_list(*whole)?;
                Call::Contains { whole: whole.id, part: part.id }
            }
            (Function::Contains, [List(values, _), One(part)]) => {
                Call::In { wanted: part.id, among: values.iter().map(|value| value.id).collect() }
            }
            (Function::Matches, [One(text), One(glob)]) => {
                self.expect_text(function, *text)?;
                let glob = self.text_literal(*glob, "a pattern in double quotes, such as \"acme-*\"")?.into();
                Call::Matches { text: text.id, glob }
            }
            (Function::Exists, [One(attribute)]) => self.exists(*attribute)?,
            (Function::In, [One(wanted), among @ ..]) if !among.is_empty() => {
                Call::In { wanted: wanted.id, among: flattened(among) }
            }
            (Function::Lower, [One(text)]) => {
                self.expect_text(function, *text)?;
                return Ok((Operation::Lower(text.id), Kind::Text));
            }
            (_, arguments) => {
                return Err(self.misplaced_list(function, arguments).unwrap_or(arity));
            }
        };
        Ok((Operation::Call(call), Kind::Boolean))
    }

    fn misplaced_list(&self, function: Function, arguments: &[Argument]) -> Option<PolicyError> {
        arguments.iter().find_map(|argument| match argument {
            Argument::List(_, first) => {
                let message =
                    format!("a list cannot stand here; {} is called as {}", function.name(), function.usage());
                Some(self.refuse(*first, message))
            }
            Argument::One(_) => None,
        })
    }

    fn semver(&mut self, left: Lowered, relation: Lowered, right: Lowered) -> Result<Call, PolicyError> {
        self.version_argument(left)?;
        let signs = Relation::ALL.map(Relation::sign).join(" ");
        let sign = self.text_literal(relation, &format!("one of {signs} in double quotes"))?;
        let Some(known) = Relation::ALL.into_iter().find(|known| known.sign() == sign) else {
            return Err(self.unexpected(&format!("one of {signs} in double quotes"), relation));
        };
        self.version_argument(right)?;
        Ok(Call::Semver { left: left.id, relation: known, right: right.id })
    }

    /// Parses a literal version, so that the parser refuses a bad one and the evaluation need not parse it.
    fn version_argument(&mut self, argument: Lowered) -> Result<(), PolicyError> {
        if let Some(Operation::Text(text)) = self.operation(argument.id) {
            let Ok(version) = semver::Version::parse(text) else {
                return Err(self.unexpected("a version such as \"1.2.3\"", argument));
            };
            self.replace(argument.id, Operation::Version(Box::new(version)));
        }
        match argument.kind {
            Kind::Number | Kind::Boolean => Err(self.unexpected("a version such as \"1.2.3\"", argument)),
            _ => Ok(()),
        }
    }

    fn semver_matches(&mut self, version: Lowered, requirement: Lowered) -> Result<Call, PolicyError> {
        self.version_argument(version)?;
        let text =
            self.text_literal(requirement, "a version requirement in double quotes, such as \">=1.2.0, <2.0.0\"")?;
        match semver::VersionReq::parse(text) {
            Ok(parsed) => Ok(Call::SemverMatches { version: version.id, requirement: Box::new(parsed) }),
            Err(error) => {
                let message = format!("expected a version requirement such as \">=1.2.0, <2.0.0\": {error}");
                Err(self.refuse(requirement, message))
            }
        }
    }

    fn affix(&self, function: Function, affix: Affix, text: Lowered, part: Lowered) -> Result<Call, PolicyError> {
        self.expect_text(function, text)?;
        self.expect_text(function, part)?;
        Ok(Call::Affix { affix, text: text.id, part: part.id })
    }

    fn exists(&self, attribute: Lowered) -> Result<Call, PolicyError> {
        match self.operation(attribute.id) {
            Some(Operation::Attribute { .. } | Operation::Variable(_)) => Ok(Call::Exists(attribute.id)),
            _ => Err(self.unexpected("the name of an attribute, without quotes", attribute)),
        }
    }

    fn expect_text(&self, function: Function, argument: Lowered) -> Result<(), PolicyError> {
        match argument.kind {
            Kind::Number | Kind::Boolean => Err(self.unexpected(&format!("a text in {}", function.usage()), argument)),
            _ => Ok(()),
        }
    }

    fn expect_text_or_list(&self, argument: Lowered) -> Result<(), PolicyError> {
        match argument.kind {
            Kind::Number | Kind::Boolean => Err(self.unexpected("a text or a list", argument)),
            _ => Ok(()),
        }
    }

    fn text_literal(&self, argument: Lowered, wanted: &str) -> Result<&str, PolicyError> {
        match self.operation(argument.id) {
            Some(Operation::Text(text)) => Ok(text),
            _ => Err(self.unexpected(wanted, argument)),
        }
    }
}

fn flattened(arguments: &[Argument]) -> Vec<OperationId> {
    let mut ids = Vec::new();
    for argument in arguments {
        match argument {
            Argument::One(value) => ids.push(value.id),
            Argument::List(values, _) => ids.extend(values.iter().map(|value| value.id)),
        }
    }
    ids
}

/// Trees of the arguments. In evalexpr's tree a function has one child, the parentheses.
fn arguments_of(parentheses: &Tree) -> &[Tree] {
    match parentheses.children() {
        [list] if *list.operator() == Sign::Tuple => list.children(),
        arguments => arguments,
    }
}

/// Elements of an argument that is a list such as `(a, b)`, in any number of parentheses.
fn list_in(mut tree: &Tree) -> Option<&[Tree]> {
    while let (Sign::RootNode, [inner]) = (tree.operator(), tree.children()) {
        tree = inner;
    }
    (*tree.operator() == Sign::Tuple).then(|| tree.children())
}
