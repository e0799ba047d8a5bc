//! [`Predictor`]: a model with its preprocessing and the names of its classes.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use dendra_autograd::{Entry, EntryMut, Parameters, Path, Tape, Var};
use dendra_datasets::{
    Prediction, Prepare, Preprocessing, Samples, classes_from_metadata, data_to_metadata,
    preprocessing_from_metadata,
};
use dendra_nn::{Model, Sequential, StateFile};
use dendra_tensor::{Error, Result, Tensor};

use crate::trainer::values_of;

/// A model together with the preprocessing of its inputs and the names of its
/// classes.
///
/// All of it is saved in one file, so that another program can predict without
/// the training data: from rows of a table with an `Encoder`, from image files
/// with an `ImageEncoder`, from texts with a
/// [`TextEncoder`](dendra_datasets::TextEncoder), or from other raw data with
/// your own [`Preprocessing`]. A `Trainer` takes it in place of the model, and its
/// checkpoints can be loaded as predictors too. PyTorch reads the weights from
/// the file as from any safetensors file.
///
/// ```
/// use dendra_datasets::{TensorDataset, TextEncoder, Vocabulary};
/// use dendra_losses::CrossEntropy;
/// use dendra_nn::Sequential;
/// use dendra_optim::Adam;
/// use dendra_tensor::{Rng, Tensor};
/// use dendra_train::{Fit, Predictor, Trainer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("mood.safetensors");
/// let texts = ["a good day", "what a bad day", "all is good", "all is bad"];
/// let encoder = TextEncoder::new(Vocabulary::words(texts, 100), 5)?;
/// let labels = Tensor::from([1, 0, 1, 0]);
/// let data = TensorDataset::classification(encoder.inputs(&texts)?, labels, 2)?;
/// let model = Sequential::tokens([5])
///     .embedding(encoder.vocabulary().len(), 4)
///     .gru(4)
///     .last_step()
///     .dense(2)
///     .build(&mut Rng::seed(1))?;
/// let model = Predictor::new(model, encoder).classes(["bad", "good"]);
/// let mut trainer = Trainer::new(model, Adam::new(0.05), CrossEntropy::new());
/// trainer.fit(&data, Fit::epochs(40).quiet())?;
/// trainer.model().save(&path)?;
///
/// // Another program:
/// let model = Predictor::<TextEncoder>::load(&path)?;
/// let answer = &model.predict("a good idea")?[0];
/// assert_eq!(answer.class(), "good");
/// println!("{answer}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Predictor<P, M = Sequential> {
    model: M,
    preprocessing: P,
    classes: Arc<[String]>,
}

impl<P, M> Predictor<P, M> {
    /// A model whose inputs `preprocessing` makes.
    pub fn new(model: M, preprocessing: P) -> Self {
        Self { model, preprocessing, classes: Arc::default() }
    }

    /// Sets the names of the classes, in the order of their labels.
    #[must_use]
    pub fn classes<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.classes = names.into_iter().map(Into::into).collect();
        self
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The preprocessing.
    pub fn preprocessing(&self) -> &P {
        &self.preprocessing
    }

    /// The names of the classes, in the order of their labels; empty unless
    /// [`classes`](Self::classes) was called.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// The model's outputs for raw data. For a regression, they are the
    /// predictions.
    ///
    /// # Errors
    ///
    /// When the preprocessing or the model rejects the data.
    pub fn outputs<R: ?Sized>(&self, raw: &R) -> Result<Tensor>
    where
        P: Prepare<R>,
        P::Input: Samples,
        M: Model<P::Input, Output = Var>,
    {
        values_of(&self.model, &self.preprocessing.prepare(raw)?)
    }

    /// The class of each sample of raw data, with the probabilities. The
    /// model's outputs, `[samples, classes]`, are logits or probabilities. For
    /// two classes, outputs `[samples, 1]` are the logit of the second.
    ///
    /// # Errors
    ///
    /// When the preprocessing or the model rejects the data, the classes have
    /// no names, or the outputs are not finite or have another shape.
    pub fn predict<R: ?Sized>(&self, raw: &R) -> Result<Vec<Prediction>>
    where
        P: Prepare<R>,
        P::Input: Samples,
        M: Model<P::Input, Output = Var>,
    {
        Prediction::of(&self.outputs(raw)?, &self.classes)
            .map_err(|error| error.within("Predictor::predict"))
    }
}

impl<P: Preprocessing, M: Parameters + 'static> Predictor<P, M> {
    /// Writes the model, the preprocessing and the class names to a safetensors
    /// file.
    ///
    /// # Errors
    ///
    /// The errors of [`Sequential::save`], and when the preprocessing cannot be
    /// written as JSON.
    pub fn save(&self, path: impl AsRef<FilePath>) -> Result<()> {
        let path = path.as_ref();
        let in_file = |error: Error| error.within(path.display().to_string());
        let mut file = match (&self.model as &dyn Any).downcast_ref::<Sequential>() {
            Some(model) => model.to_file().map_err(in_file)?,
            None => StateFile { state: self.model.state_dict(), metadata: self.model.metadata() },
        };
        file.metadata.extend(self.about().map_err(in_file)?);
        file.write(path)
    }

    /// Like [`load`](Predictor::load), but into a model of your own that has
    /// the layers of the saved one.
    ///
    /// # Errors
    ///
    /// The errors of [`load`](Predictor::load).
    pub fn load_into(model: M, path: impl AsRef<FilePath>) -> Result<Self> {
        let path = path.as_ref();
        let file = StateFile::read(path)?;
        let (preprocessing, classes) = read(&file, path)?;
        let mut model = model;
        model
            .load_state_dict(&file.into_model_state())
            .map_err(|error| error.within(path.display().to_string()))?;
        Ok(Self { model, preprocessing, classes })
    }
}

impl<P: Preprocessing, M> Predictor<P, M> {
    /// The entries that the predictor adds to the metadata of a file.
    fn about(&self) -> Result<[(String, String); 2]> {
        data_to_metadata(&self.preprocessing, &self.classes)
    }
}

impl<P: Preprocessing> Predictor<P> {
    /// Reads a file that [`save`](Self::save) wrote, or a checkpoint of the
    /// training of a predictor.
    ///
    /// # Errors
    ///
    /// The errors of [`Sequential::load`], and when the file has no preprocessing,
    /// has another kind than `P`, or has one that is invalid or makes inputs of
    /// another shape than the network takes.
    pub fn load(path: impl AsRef<FilePath>) -> Result<Self> {
        let path = path.as_ref();
        let file = StateFile::read(path)?;
        let (preprocessing, classes): (P, _) = read(&file, path)?;
        let model = Sequential::from_file(file, path)?;
        let (made, taken) = (preprocessing.input_shape(), model.input_shape());
        if made != *taken {
            let message =
                format!("expected a preprocessing for inputs of shape {taken}, got one for {made}");
            return Err(Error::file(path, message));
        }
        Ok(Self { model, preprocessing, classes })
    }
}

/// The preprocessing and the class names in a file.
fn read<P: Preprocessing>(file: &StateFile, path: &FilePath) -> Result<(P, Arc<[String]>)> {
    let in_file = |error: Error| Error::file(path, error.to_string());
    let preprocessing = preprocessing_from_metadata(&file.metadata).map_err(in_file)?;
    let classes = classes_from_metadata(&file.metadata).map_err(in_file)?;
    Ok((preprocessing, classes.into()))
}

/// Only the model has parameters.
impl<P: Preprocessing, M: Parameters> Parameters for Predictor<P, M> {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, f32>)) {
        self.model.visit(path, visitor);
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, f32>),
    ) {
        self.model.visit_mut(path, visitor);
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.model.metadata();
        // `save` reports this error.
        metadata.extend(self.about().into_iter().flatten());
        metadata
    }
}

impl<P: Preprocessing + Sync, M: Model<I>, I> Model<I> for Predictor<P, M> {
    type Output = M::Output;

    fn run(&self, inputs: &I, tape: &Tape) -> Result<M::Output> {
        self.model.run(inputs, tape)
    }
}
