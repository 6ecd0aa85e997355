from cascade.intervals import Figure
def quantile(values, q, boot):
    import numpy as np
    return Figure(estimate=float(np.quantile(values,q,method="inverted_cdf")))
