//! A running case: its arguments as values of Dendra, and the gradients of these.

use std::cell::RefCell;

use dendra_autograd::{AnyTensor, Parameters, StateDict, Tape, Var};

use dendra_tensor::{Error, Float, Ops, Result, Tensor};
use serde_json::Value;

use crate::argument::Argument;
use crate::case::{Answer, Case};
use crate::output::Output;

/// Why a case has no result.
pub(crate) enum Stop {
    /// Dendra returned an error.
    Refused(Error),
    /// Dendra does not support what the case asks for.
    Inexpressible(String),
}

impl Stop {
    /// A case that cannot be expressed, with the reason.
    pub(crate) fn inexpressible(what: impl Into<String>) -> Self {
        Self::Inexpressible(what.into())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// A tensor of a case.
pub(crate) enum Given<T: Float> {
    Float(Var<T>),
    Int(Tensor<i64>),
    Bool(Tensor<bool>),
}

/// A case with its tensors on a tape.
pub(crate) struct Call<'a, T: Float> {
    case: &'a Case,
    tape: Tape<T>,
    given: Vec<Given<T>>,
    /// The module that ran, kept for the gradients of its parameters.
    model: RefCell<Option<Box<dyn Parameters<T>>>>,
}

impl<'a, T: Float> Call<'a, T> {
    pub(crate) fn new(case: &'a Case) -> Result<Self, Stop> {
        let tape = match case.header["training"].as_bool() {
            Some(false) => Tape::evaluation(),
            _ => Tape::training(0, 0),
        };
        let about = case.header["tensors"].as_array().map_or(&[][..], Vec::as_slice);
        let given = case.tensors.iter().zip(about).map(|(tensor, about)| {
            if let Some(x) = tensor.downcast::<T>() {
                Ok(Given::Float(match about["grad"] == true {
                    true => tape.leaf(x.clone()),
                    false => tape.input(x.clone()),
                }))
            } else if let Some(x) = tensor.downcast::<i64>() {
                Ok(Given::Int(x.clone()))
            } else if let Some(x) = tensor.downcast::<bool>() {
                Ok(Given::Bool(x.clone()))
            } else {
                Err(Stop::inexpressible("numbers of different types in one function"))
            }
        });
        let given = given.collect::<Result<_, Stop>>()?;
        Ok(Self { case, tape, given, model: RefCell::new(None) })
    }

    /// The argument of this name; `default` stands for one that was not given.
    pub(crate) fn argument<A: Argument<T>>(
        &self,
        name: &str,
        default: Option<A>,
    ) -> Result<A, Stop> {
        let parameter = self.case.header["parameters"][name].as_u64();
        let value = match (self.case.header["arguments"].get(name), default) {
            _ if A::STATE => &self.case.header["tensors"][parameter.unwrap_or(0) as usize]["shape"],
            (None, Some(default)) => return Ok(default),
            (value, _) => value.unwrap_or(&Value::Null),
        };
        A::read(value, self)
            .ok_or_else(|| Stop::Inexpressible(format!("{name} = {value} is not {}", A::KIND)))
    }

    /// The tensor that `{"tensor": i}` refers to.
    pub(crate) fn given(&self, value: &Value) -> Option<&Given<T>> {
        self.given.get(value.get("tensor")?.as_u64()? as usize)
    }

    pub(crate) fn tape(&self) -> &Tape<T> {
        &self.tape
    }

    /// Whether the case belongs to this entry.
    pub(crate) fn is(&self, entry: &str) -> bool {
        self.case.header["entry"] == entry
    }

    /// The number in the name of the entry, such as 2 in `nn.Conv2d`.
    pub(crate) fn axes(&self) -> u32 {
        let entry = self.case.header["entry"].as_str().unwrap_or_default();
        entry.chars().find_map(|c| c.to_digit(10)).unwrap_or(0)
    }

    /// Loads the state of PyTorch's module into the module, runs it, and keeps it for
    /// [`finish`](Self::finish).
    pub(crate) fn module<M: Parameters<T> + 'static, Y>(
        &self,
        mut module: M,
        run: impl FnOnce(&M) -> Result<Y>,
    ) -> Result<Y, Stop> {
        let mut state = StateDict::new();
        for (name, value) in self.case.header["parameters"].as_object().into_iter().flatten() {
            let index = value.as_u64().unwrap_or(0) as usize;
            state.insert(name, self.case.tensors[index].clone());
        }
        module.load_state_dict(&state)?;
        let y = run(&module)?;
        *self.model.borrow_mut() = Some(Box::new(module));
        Ok(y)
    }

    /// The values of the outputs, and the requested gradients.
    pub(crate) fn finish(self, outputs: Vec<Output<T>>) -> Result<Answer, Stop> {
        // An output that depends on no input has no gradient, which is not an error here.
        let mut total = self.tape.leaf(Tensor::zeros([]));
        let cotangents = self.case.header["cotangents"].as_array().map_or(&[][..], Vec::as_slice);
        for (output, cotangent) in outputs.iter().zip(cotangents) {
            let (Output::Var(y), Some(index)) = (output, cotangent.as_u64()) else { continue };
            let Given::Float(cotangent) = &self.given[index as usize] else { continue };
            if y.shape() != cotangent.shape() {
                continue;
            }
            total = total.add(&y.mul(cotangent)?.sum())?;
        }
        let gradients = total.backward()?;
        let mut model = self.model.take();

        let leaves = self.given.iter().enumerate().filter_map(|(index, given)| match given {
            Given::Float(x) if self.case.header["tensors"][index]["grad"] == true => {
                Some((Value::from(index), gradients.wrt(x).and_then(AnyTensor::upcast)))
            }
            _ => None,
        });
        let mut found: Vec<_> = leaves.collect();
        let mut buffers = Vec::new();
        if let Some(model) = &mut model {
            for (name, param) in model.named_parameters() {
                let gradient = gradients.get(param).and_then(AnyTensor::upcast);
                found.push((Value::from(name), gradient));
            }
            model.apply_updates(&gradients)?;
            for (name, value) in model.state_dict().iter() {
                buffers.push((name.to_owned(), value.clone()));
            }
        }
        let outputs = outputs.into_iter().filter_map(|output| match output {
            Output::Var(y) => AnyTensor::upcast(y.value()),
            Output::Plain(y) => Some(y),
        });
        Ok(Answer { outputs: outputs.collect(), gradients: found, buffers })
    }
}
