//! What stands for a call: descriptions of tensors put together from arguments.

use super::error::PickleFault;
use super::globals::Global;
use super::machine::Machine;
use super::value::{Id, Storage, Tensor, Value};

impl<'a> Machine<'a> {
    /// The value that `function(*arguments)` stands for.
    pub(super) fn call(&mut self, function: Id, arguments: Id) -> Result<Id, PickleFault> {
        let &Value::Global(function) = self.value(function) else {
            return Err(PickleFault::Type { expected: "a function or class to call", found: self.value(function).kind() });
        };
        let Value::Tuple(arguments) = self.value(arguments) else {
            return Err(PickleFault::Type { expected: "a tuple of arguments", found: self.value(arguments).kind() });
        };
        match (function, &**arguments) {
            (Global::RebuildTensor, &[storage, offset, shape, strides]) => {
                self.tensor("_rebuild_tensor", [storage, offset, shape, strides], None)
            }
            (Global::RebuildTensorV2, &[storage, offset, shape, strides, ..]) => {
                self.tensor("_rebuild_tensor_v2", [storage, offset, shape, strides], None)
            }
            (Global::RebuildTensorV3, &[storage, offset, shape, strides, _, _, dtype, ..]) => {
                self.tensor("_rebuild_tensor_v3", [storage, offset, shape, strides], Some(dtype))
            }
            (Global::RebuildTensor | Global::RebuildTensorV2 | Global::RebuildTensorV3, _) => {
                Err(arguments_fault("a tensor", "too few"))
            }
            (Global::Parameter, &[tensor, ..]) => match self.value(tensor) {
                Value::Tensor(_) => Ok(tensor),
                _ => Err(arguments_fault("a Parameter", "the first is not a tensor")),
            },
            (Global::Size, &[tuple]) => match self.value(tuple) {
                Value::Tuple(_) => Ok(tuple),
                _ => Err(arguments_fault("torch.Size", "not a tuple")),
            },
            (Global::OrderedDict, &[]) => self.add(Value::Dict(Vec::new())),
            (Global::OrderedDict, &[items]) => self.ordered_dict(items),
            (Global::Inert(kind), _) => self.add(Value::Other(kind)),
            (Global::Parameter | Global::Size | Global::OrderedDict, _) => Err(arguments_fault("a call", "wrong number")),
            (Global::Storage(_) | Global::Dtype(_), _) => {
                Err(PickleFault::Type { expected: "a function or class to call", found: "a storage class or dtype" })
            }
        }
    }

    /// A dictionary from a list of pairs, as Python 2 writes it.
    fn ordered_dict(&mut self, items: Id) -> Result<Id, PickleFault> {
        let fault = || arguments_fault("OrderedDict", "not a list of pairs");
        let count = if let Value::List(list) = self.value(items) { list.len() } else { return Err(fault()) };
        self.charge(count)?;
        let pair = |&pair: &Id| {
            let pair: &[Id] = match self.value(pair) {
                Value::List(pair) => pair,
                Value::Tuple(pair) => pair,
                _ => return Err(fault()),
            };
            if let &[key, value] = pair { Ok((key, value)) } else { Err(fault()) }
        };
        let Value::List(list) = self.value(items) else { return Err(fault()) };
        let pairs = list.iter().map(pair).collect::<Result<_, _>>()?;
        self.add(Value::Dict(pairs))
    }

    fn tensor(
        &mut self,
        called: &'static str,
        [storage, offset, shape, strides]: [Id; 4],
        dtype: Option<Id>,
    ) -> Result<Id, PickleFault> {
        let fault = |reason| arguments_fault(called, reason);
        let Value::Storage(found) = self.value(storage) else { return Err(fault("the first is not a storage")) };
        let &Value::Int(offset) = self.value(offset) else { return Err(fault("the offset is not an integer")) };
        let dtype = match dtype.map(|dtype| self.value(dtype)) {
            Some(&Value::Global(Global::Dtype(dtype))) => dtype,
            Some(_) => return Err(fault("the last is not a dtype")),
            None => found.dtype.ok_or_else(|| fault("a storage of plain bytes without a dtype"))?,
        };
        let is_tuple = |id| matches!(self.value(id), Value::Tuple(_));
        if !is_tuple(shape) || !is_tuple(strides) {
            return Err(fault("the shape or the strides are not a tuple"));
        }
        self.add(Value::Tensor(Box::new(Tensor { storage, dtype, offset, shape, strides })))
    }

    /// The storage that a persistent id names: `("storage", class, key, device, length)`, in the legacy form with `None` or
    /// `(key, offset, length)` of a part behind.
    pub(super) fn persistent(&self, id: Id) -> Result<Value<'a>, PickleFault> {
        let fault = |reason| arguments_fault("a persistent id", reason);
        let Value::Tuple(items) = self.value(id) else { return Err(fault("not a tuple")) };
        let (&[tag, class, key, _device, elements], part) = items.split_first_chunk().ok_or_else(|| fault("too few"))?;
        if !matches!(self.value(tag), Value::Str("storage")) {
            return Err(fault("not a storage"));
        }
        let &Value::Global(Global::Storage(dtype)) = self.value(class) else {
            return Err(fault("the second is not a storage class"));
        };
        let &Value::Str(key) = self.value(key) else { return Err(fault("the key is not a string")) };
        let &Value::Int(elements) = self.value(elements) else { return Err(fault("the length is not an integer")) };
        let part = match part.first().map(|&part| self.value(part)) {
            None | Some(Value::None) => None,
            Some(Value::Tuple(part)) => self.part(part).map(Some).ok_or_else(|| fault("malformed part of a storage"))?,
            Some(_) => return Err(fault("malformed part of a storage")),
        };
        Ok(Value::Storage(Box::new(Storage { dtype, key, elements, part })))
    }

    fn part(&self, part: &[Id]) -> Option<(i128, i128)> {
        let &[_key, offset, length] = part else { return None };
        match (self.value(offset), self.value(length)) {
            (&Value::Int(offset), &Value::Int(length)) => Some((offset, length)),
            _ => None,
        }
    }
}

fn arguments_fault(called: &'static str, reason: &'static str) -> PickleFault {
    PickleFault::Arguments { called, reason }
}
