// pynet.hpp: trained networks in C++11.  What pynet.h opens is closed by itself, and its faults are exceptions.
//
//     pynet::Model model("digits.safetensors");           // threads share it
//     pynet::Predictor<float> digits(model);              // one for each thread
//     std::vector<float> y = digits(x);                   // x: 64 numbers
#ifndef PYNET_HPP
#define PYNET_HPP

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "pynet.h"

namespace pynet {

class Error : public std::runtime_error {
  public:
    Error(pn_status status, const std::string &text) : std::runtime_error(text), status(status) {}
    pn_status status;
};

// A network out of a file.  Copies are the same network.
class Model {
  public:
    explicit Model(const std::string &path) {
        open([&](pn_model **m, char *text, size_t n) { return pn_model_open(m, path.c_str(), text, n); }, path + ": ");
    }
    Model(const void *data, size_t size) {
        open([&](pn_model **m, char *text, size_t n) { return pn_model_open_memory(m, data, size, text, n); }, "");
    }
    const pn_model *get() const { return model.get(); }
    pn_dtype dtype() const { return pn_model_dtype(get()); }
    std::vector<uint32_t> inputs() const { return widths(pn_model_inputs, pn_model_input_width); }
    std::vector<uint32_t> outputs() const { return widths(pn_model_outputs, pn_model_output_width); }

  private:
    std::shared_ptr<const pn_model> model;

    template <class Open> void open(Open call, const std::string &before) {
        char text[200];
        pn_model *opened = nullptr;
        const pn_status status = call(&opened, text, sizeof text);
        if (status != PN_OK) throw Error(status, before + text);
        model = std::shared_ptr<const pn_model>(opened,
                                                [](const pn_model *m) { pn_model_close(const_cast<pn_model *>(m)); });
    }
    std::vector<uint32_t> widths(uint32_t count(const pn_model *), uint32_t width(const pn_model *, uint32_t)) const {
        std::vector<uint32_t> result;
        for (uint32_t i = 0; i < count(get()); i++) result.push_back(width(get(), i));
        return result;
    }
};

// What one thread predicts with; Real is the model's dtype, float or double.
template <class Real> class Predictor {
    static_assert(std::is_same<Real, float>::value || std::is_same<Real, double>::value, "float or double");

  public:
    // `rows`: so many at a time are computed side by side; any number can be predicted.
    explicit Predictor(const Model &model, int64_t rows = 1)
        : model(model), outputs(model.outputs()), inputs(model.inputs()) {
        if (model.dtype() != (sizeof(Real) == 8 ? PN_F64 : PN_F32))
            throw Error(PN_BAD_ARGUMENT, "the numbers of the model are of the other type, float or double");
        scratch.resize(pn_model_scratch(model.get(), rows));
        const pn_status status = pn_model_machine(&machine, model.get(), rows, scratch.data(), scratch.size());
        if (status != PN_OK) throw Error(status, pn_status_text(status));
    }
    Predictor(const Predictor &) = delete;
    Predictor &operator=(const Predictor &) = delete;

    // Of a network with one input and one output: row behind row.
    std::vector<Real> operator()(const std::vector<Real> &x) {
        if (inputs.size() != 1 || outputs.size() != 1 || x.size() % inputs[0])
            throw Error(PN_BAD_ARGUMENT, "x must be whole rows, of a network with one input and one output");
        const size_t rows = x.size() / inputs[0];
        std::vector<Real> y(rows * outputs[0]);
        const void *const xs[] = {x.data()};
        void *const ys[] = {y.data()};
        predict(static_cast<int64_t>(rows), xs, ys);
        return y;
    }
    // Several inputs and outputs: see pn_predict.
    void predict(int64_t rows, const void *const *x, void *const *y) {
        const pn_status status = pn_predict(machine, rows, x, y);
        if (status != PN_OK) throw Error(status, pn_status_text(status));
    }

  private:
    Model model; // lives as long as this
    std::vector<uint32_t> outputs, inputs;
    std::vector<unsigned char> scratch;
    pn_machine *machine = nullptr;
};

} // namespace pynet
#endif
