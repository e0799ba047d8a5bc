//! The rules that choose a network and the settings of its training for the
//! kind and size of a data set.
//!
//! The rules aim at a good first result within minutes on a few cores. They use
//! only sizes, never values, so the same data give the same choice.
//!
//! **Tables.** Dense layers with ReLU, of a width of √rows rounded up to a
//! power of two, 16 to 256: one hidden layer, from 500 rows on two, with a
//! dropout of 0.1. The batch size is rows / 50, rounded up to a power of two,
//! 16 to 256. At most 2,000,000 / rows epochs, 20 to 300. Learning rate 0.003.
//!
//! **Pictures.** Blocks of a 3×3 convolution, ReLU and pooling that halves the
//! picture, until the shorter side is below 12 pixels. The first block has 16
//! channels, from 2,000 pictures on 32; each further block has twice as many, up
//! to 128. Then a dense layer of four times the channels of the first block, and
//! a dropout of 0.25. Batches of 32, from 10,000 pictures on 64. At most
//! 400,000 / pictures epochs, 10 to 60. Learning rate 0.001.
//!
//! **Texts.** The mean of word vectors of size 64; from 10,000 texts on a GRU
//! of that width. A dropout of 0.25. Batches of 16, from 2,000 texts on 32. At
//! most 200,000 / texts epochs, 8 to 60. Learning rate 0.003. The mean ignores
//! the order of words, which takes many texts to learn; with few texts it is
//! the better and much faster classifier.
//!
//! The optimizer is AdamW with a weight decay of 0.01. Training stops when the
//! validation loss has not fallen for a tenth of the largest number of epochs
//! (at least 5), and the learning rate is halved after half of that time.

use dendra_nn::{Conv2d, EmbeddingBag, Init, Sequential};
use dendra_tensor::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

/// The layers between the inputs and the outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Network {
    /// Dense layers with ReLU.
    Dense {
        /// The widths of the hidden layers.
        hidden: Vec<usize>,
        /// The dropout probability after each hidden layer.
        dropout: f64,
    },
    /// Blocks of a 3×3 convolution, ReLU and 2×2 max pooling, and one hidden
    /// dense layer.
    Convolutional {
        /// The output channels of each block.
        channels: Vec<usize>,
        /// The width of the hidden layer.
        hidden: usize,
        /// The dropout probability before the last layer.
        dropout: f64,
    },
    /// A word embedding and its mean over the text.
    Bag {
        /// The size of the embedding.
        embedding: usize,
        /// The dropout probability before the last layer.
        dropout: f64,
    },
    /// An embedding, a GRU, and its last step.
    Recurrent {
        /// The size of the embedding.
        embedding: usize,
        /// The size of the GRU's state.
        hidden: usize,
        /// The dropout probability before the last layer.
        dropout: f64,
    },
}

/// The inputs of a network.
#[derive(Clone, Debug, PartialEq)]
pub enum Takes {
    /// Numbers of this shape, without the batch axis.
    Numbers(Vec<usize>),
    /// Token ids below `symbols`, `length` of them in a text.
    Tokens {
        /// The number of tokens of a text.
        length: usize,
        /// The number of symbols.
        symbols: usize,
    },
}

impl Network {
    /// Builds the network with random weights. Its last layer is named
    /// `output`.
    ///
    /// # Errors
    ///
    /// When the network does not accept such inputs, or has a size of 0.
    pub fn build(&self, takes: &Takes, outputs: usize, rng: &mut Rng) -> Result<Sequential> {
        let layers = match (self, takes) {
            (Self::Dense { hidden, dropout }, Takes::Numbers(shape)) => {
                let layers = Sequential::input(shape.clone());
                let layers = if shape.len() > 1 { layers.flatten() } else { layers };
                hidden.iter().fold(layers, |layers, &width| {
                    let layers = layers.dense(width).relu();
                    if *dropout > 0.0 { layers.dropout(*dropout) } else { layers }
                })
            }
            (Self::Convolutional { channels, hidden, dropout }, Takes::Numbers(shape)) => {
                let layers =
                    channels.iter().fold(Sequential::input(shape.clone()), |layers, &channels| {
                        let convolution = Conv2d::lazy(channels, 3).padding(1);
                        layers.layer(convolution).relu().max_pool2d(2)
                    });
                layers.flatten().dense(*hidden).relu().dropout(*dropout)
            }
            (Self::Bag { embedding, dropout }, Takes::Tokens { length, symbols }) => {
                // Small vectors, because the network knows nothing about words
                // that it has not learnt.
                let init = Init::Normal { mean: 0.0, std: 0.1 };
                let bag = EmbeddingBag::new(*symbols, *embedding).padding_idx(0);
                Sequential::tokens([*length]).layer(bag.weight_init(init)).dropout(*dropout)
            }
            (Self::Recurrent { embedding, hidden, dropout }, Takes::Tokens { length, symbols }) => {
                Sequential::tokens([*length])
                    .embedding(*symbols, *embedding)
                    .gru(*hidden)
                    .last_step()
                    .dropout(*dropout)
            }
            (_, takes) => {
                let message = format!("{self:?} does not accept {takes:?}");
                return Err(Error::argument("Network::build", message));
            }
        };
        layers.dense(outputs).named("output").build(rng)
    }
}

/// A network and the settings of its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The network.
    pub network: Network,
    /// The batch size.
    pub batch_size: usize,
    /// The largest number of epochs.
    pub epochs: u64,
    /// The number of epochs without a lower validation loss after which
    /// training stops.
    pub patience: u64,
    /// The learning rate of AdamW.
    pub learning_rate: f64,
    /// The weight decay of AdamW.
    pub weight_decay: f64,
}

impl Plan {
    /// The plan for a table with this many training rows.
    ///
    /// ```
    /// use dendra_cli::choose::{Network, Plan, Takes};
    /// use dendra_tensor::Rng;
    ///
    /// let plan = Plan::for_table(120);
    /// assert_eq!(plan.network, Network::Dense { hidden: vec![16], dropout: 0.0 });
    /// let model = plan.network.build(&Takes::Numbers(vec![4]), 3, &mut Rng::seed(1))?;
    /// assert_eq!(model.output_shape().to_vec(), [3]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn for_table(rows: usize) -> Self {
        let width = rows.isqrt().next_power_of_two().clamp(16, 256);
        let (hidden, dropout) = if rows < 500 { (vec![width], 0.0) } else { (vec![width; 2], 0.1) };
        let batch_size = (rows / 50).next_power_of_two().clamp(16, 256);
        let epochs = (2_000_000 / rows.max(1)).clamp(20, 300);
        Self::new(Network::Dense { hidden, dropout }, batch_size, epochs, 3e-3)
    }

    /// The plan for this many training pictures of this height and width.
    pub fn for_pictures(pictures: usize, size: [usize; 2]) -> Self {
        let first: usize = if pictures < 2_000 { 16 } else { 32 };
        let mut channels = vec![first];
        let mut side = size[0].min(size[1]) / 2;
        while side >= 12 {
            side /= 2;
            channels.push((channels[channels.len() - 1] * 2).min(128));
        }
        let hidden = 4 * first;
        let network = Network::Convolutional { channels, hidden, dropout: 0.25 };
        let batch_size = if pictures < 10_000 { 32 } else { 64 };
        let epochs = (400_000 / pictures.max(1)).clamp(10, 60);
        Self::new(network, batch_size, epochs, 1e-3)
    }

    /// The plan for this many training texts.
    pub fn for_texts(texts: usize) -> Self {
        let network = match texts {
            0..10_000 => Network::Bag { embedding: 64, dropout: 0.25 },
            _ => Network::Recurrent { embedding: 64, hidden: 64, dropout: 0.25 },
        };
        let batch_size = if texts < 2_000 { 16 } else { 32 };
        let epochs = (200_000 / texts.max(1)).clamp(8, 60);
        Self::new(network, batch_size, epochs, 3e-3)
    }

    fn new(network: Network, batch_size: usize, epochs: usize, learning_rate: f64) -> Self {
        let epochs = epochs as u64;
        let patience = (epochs / 10).max(5);
        Self { network, batch_size, epochs, patience, learning_rate, weight_decay: 0.01 }
    }

    /// Sets the widths of the hidden layers: the widths of a dense network, the
    /// channels of a convolutional network, the single width of a network for
    /// texts.
    ///
    /// # Errors
    ///
    /// When there are no widths, one is 0, or a network for texts gets several.
    pub fn set_widths(&mut self, widths: &[usize]) -> Result<()> {
        if widths.contains(&0) {
            return Err(Error::argument("layers", "expected widths of at least 1, got 0"));
        }
        match (&mut self.network, widths) {
            (Network::Dense { hidden, .. }, _) => *hidden = widths.to_vec(),
            (Network::Convolutional { channels, .. }, [_, ..]) => *channels = widths.to_vec(),
            (Network::Bag { embedding, .. }, &[width]) => *embedding = width,
            (Network::Recurrent { hidden, .. }, &[width]) => *hidden = width,
            (network, _) => {
                let expected = match network {
                    Network::Bag { .. } => "one width, the size of the embedding",
                    Network::Recurrent { .. } => "one width, the size of the GRU",
                    _ => "at least one width",
                };
                let message = format!("expected {expected}, got {}", widths.len());
                return Err(Error::argument("layers", message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_data_makes_larger_networks_and_fewer_epochs() {
        let dense = |rows| match Plan::for_table(rows) {
            Plan { network: Network::Dense { hidden, .. }, batch_size, epochs, .. } => {
                (hidden, batch_size, epochs)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(dense(0), (vec![16], 16, 300));
        assert_eq!(dense(1_000), (vec![32, 32], 32, 300));
        assert_eq!(dense(10_000), (vec![128, 128], 256, 200));
        assert_eq!(dense(10_000_000), (vec![256, 256], 256, 20));
    }

    #[test]
    fn pictures_are_halved_until_they_are_small() {
        let channels = |pictures, side| match Plan::for_pictures(pictures, [side, 2 * side]) {
            Plan { network: Network::Convolutional { channels, .. }, .. } => channels,
            other => panic!("{other:?}"),
        };
        assert_eq!(channels(100, 8), [16]);
        assert_eq!(channels(5_000, 28), [32, 64]);
        assert_eq!(channels(5_000, 224), [32, 64, 128, 128, 128]);
    }

    #[test]
    fn every_network_can_be_built() {
        let rng = &mut Rng::seed(1);
        let pictures = Takes::Numbers(vec![3, 28, 20]);
        let model = Plan::for_pictures(10, [28, 20]).network.build(&pictures, 4, rng).unwrap();
        assert_eq!(model.output_shape().to_vec(), [4]);
        let texts = Takes::Tokens { length: 6, symbols: 9 };
        for count in [10, 100_000] {
            let model = Plan::for_texts(count).network.build(&texts, 2, rng).unwrap();
            assert_eq!(model.output_shape().to_vec(), [2]);
        }
        let error = Plan::for_texts(10).network.build(&pictures, 2, rng).unwrap_err();
        assert!(error.to_string().contains("does not accept"), "{error}");
    }

    #[test]
    fn widths_must_suit_the_network() {
        let mut plan = Plan::for_texts(10);
        assert!(plan.set_widths(&[8, 8]).is_err() && plan.set_widths(&[0]).is_err());
        plan.set_widths(&[8]).unwrap();
        let mut plan = Plan::for_pictures(10, [28, 28]);
        assert!(plan.set_widths(&[]).is_err());
        Plan::for_table(10).set_widths(&[]).unwrap();
    }
}
