"""Federated reprogramming: clients train one program together, each on its own data and all on one frozen source.

    theta, omega  <-  sum over clients of n_k / n * (theta_k, omega_k)        n = sum over clients of n_k

This is FedAvg (McMahan et al. 2017, arXiv 1602.05629) of the trained numbers of a program. In every round a client trains the
program of the server on its n_k examples and sends the numbers back. The source is the same for all and never sent, and neither
are examples. A label map that is fitted to data is fitted by the server, to the sum of the clients' counts
(`hf_reprogram.mappings.label_map.LabelMap.counts`): otherwise every client would have another map, and the mean of programs for
different maps is no program. Counts say how many examples of each class a client has.

`hf_reprogram.federated.flower` has the messages, with Flower (https://flower.ai); the other modules do not need it. The key
`federated` of a recipe compares central, federated and local training (`hf_reprogram.experiments.federated`).
"""
