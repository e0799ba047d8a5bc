//! The dependencies of the output shapes of operators.

use crate::plan::{Action, Node};

/// The inputs whose elements, in addition to the shapes of all inputs,
/// determine the output shapes; `None` if the output shapes may depend on
/// anything else.
pub(super) fn deciding(node: &Node) -> Option<&'static [usize]> {
    let Action::Operator(operator) = &node.action else { return None };
    if !operator.is_standard() {
        return None;
    }
    Some(match operator.name {
        // Element-wise functions of one or two inputs.
        "Abs" | "Acos" | "Acosh" | "Add" | "And" | "Asin" | "Asinh" | "Atan" | "Atanh"
        | "BitwiseAnd" | "BitwiseNot" | "BitwiseOr" | "BitwiseXor" | "Cast" | "CastLike"
        | "Ceil" | "Celu" | "Clip" | "Cos" | "Cosh" | "Div" | "Elu" | "Equal" | "Erf" | "Exp"
        | "Floor" | "Gelu" | "Greater" | "GreaterOrEqual" | "HardSigmoid" | "HardSwish"
        | "IsInf" | "IsNaN" | "LeakyRelu" | "Less" | "LessOrEqual" | "Log" | "Max" | "Mean"
        | "Min" | "Mish" | "Mod" | "Mul" | "Neg" | "Not" | "Or" | "PRelu" | "Pow"
        | "Reciprocal" | "Relu" | "Round" | "Selu" | "Shrink" | "Sigmoid" | "Sign" | "Sin"
        | "Sinh" | "Softplus" | "Softsign" | "Sqrt" | "Sub" | "Sum" | "Swish" | "Tan" | "Tanh"
        | "ThresholdedRelu" | "Where" | "Xor" => &[],
        // Layers.
        "AveragePool"
        | "BatchNormalization"
        | "Conv"
        | "ConvTranspose"
        | "DequantizeLinear"
        | "GRU"
        | "Gemm"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "GroupNormalization"
        | "Identity"
        | "InstanceNormalization"
        | "LSTM"
        | "LayerNormalization"
        | "LogSoftmax"
        | "LpNormalization"
        | "MatMul"
        | "MatMulInteger"
        | "MaxPool"
        | "QLinearConv"
        | "QLinearMatMul"
        | "QuantizeLinear"
        | "RMSNormalization"
        | "RNN"
        | "Softmax" => &[],
        // Functions of shape and position.
        "ArgMax" | "ArgMin" | "Concat" | "CumSum" | "DepthToSpace" | "Flatten" | "Gather"
        | "GatherElements" | "GatherND" | "ScatterElements" | "ScatterND" | "Shape" | "Size"
        | "SpaceToDepth" | "Transpose" | "Trilu" => &[],
        "ConstantOfShape" => &[0],
        "Expand" | "OneHot" | "Reshape" | "Split" | "Squeeze" | "TopK" | "Unsqueeze" => &[1],
        "Tile" => &[1, 2],
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax"
        | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => &[1],
        "Pad" => &[1, 3],
        "Range" => &[0, 1, 2],
        "Resize" => &[1, 2, 3],
        "Slice" => &[1, 2, 3, 4],
        "Upsample" => &[1],
        _ => return None,
    })
}
